"""Pictures of a run's images and plans."""
