"""Layout: the ground of a scene, and what stands where on it."""
