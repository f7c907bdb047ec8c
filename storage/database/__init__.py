"""What lies below a folder, as SQL views."""
