"""DINO, a transformer that detects without suppression of overlapping boxes."""
