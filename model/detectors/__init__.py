"""Detectors behind one adapter."""
