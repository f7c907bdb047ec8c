"""Drawn images with exact boxes."""
