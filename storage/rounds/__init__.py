"""Rounds of pseudo labels: opened, completed, compacted."""
