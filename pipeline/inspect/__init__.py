"""The pipeline taken apart: recorded draws replayed, parts timed."""
