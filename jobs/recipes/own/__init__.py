"""The recipe `own`: a run that fits the data it finds."""
