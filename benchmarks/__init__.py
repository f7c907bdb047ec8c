"""Speed as ratios: ours beside an alternative, interleaved on the same work."""
