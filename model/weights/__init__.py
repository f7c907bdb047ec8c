"""Weights of a detector as files: in from elsewhere, out for others."""
