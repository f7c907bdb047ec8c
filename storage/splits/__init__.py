"""Which images keep their labels."""
