"""Detectors of the DETR family, built by transformers."""
