"""The method on tensors: teacher, pseudo-label loss, optimiser."""
