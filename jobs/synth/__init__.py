"""Dense shapes: a detection benchmark that the project draws itself."""
