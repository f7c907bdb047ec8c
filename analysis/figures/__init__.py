"""Pictures of boxes, plans and curves."""
