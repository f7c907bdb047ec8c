"""A trained detector over shards."""
