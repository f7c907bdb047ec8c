"""Detectors of torchvision and their weights."""
