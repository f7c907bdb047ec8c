"""A data set at rest: tar shards and an image table, written and opened."""
