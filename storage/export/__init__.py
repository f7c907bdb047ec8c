"""Labels leave: rounds as files that other tools read."""
