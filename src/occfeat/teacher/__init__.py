"""The teacher: the frozen image model, the cache of its features, and how that cache is filled."""
