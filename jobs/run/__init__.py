"""What a run writes, and how its processes agree."""
