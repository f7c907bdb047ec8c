"""Data at rest: shards, image tables, label tables, SQL views."""
