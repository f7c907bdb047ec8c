"""A training run: step, loop, data, resume."""
