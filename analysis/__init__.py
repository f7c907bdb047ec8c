"""Questions about labels, and their answers."""
