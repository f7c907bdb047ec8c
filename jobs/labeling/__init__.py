"""A round of labels."""
