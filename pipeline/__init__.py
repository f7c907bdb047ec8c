"""Data in motion: streams, plans, DALI graphs, batches."""
