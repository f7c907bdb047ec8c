"""Readers: an annotated source or a folder of images becomes an `ImageSet`."""
