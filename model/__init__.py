"""Detectors, teacher and losses: tensors only."""
