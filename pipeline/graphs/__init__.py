"""The DALI graphs that execute a plan on pixels."""
