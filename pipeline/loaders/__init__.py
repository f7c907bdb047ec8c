"""Batches for training and prediction, made ahead of the step."""
