"""A compact FCOS that learns from scratch on a CPU."""
