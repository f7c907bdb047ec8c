"""The order of samples, their bytes, and bad images."""
