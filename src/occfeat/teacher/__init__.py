"""The teacher: the frozen image model, the cache of its features, and the filling of the cache."""
