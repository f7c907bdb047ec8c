"""A grid of training runs, done and summed up."""
