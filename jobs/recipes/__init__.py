"""Configurations of training runs, and named ones."""
