"""Is what was written still there and whole?"""
