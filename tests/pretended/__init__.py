"""A pretended GPU, and what runs on it."""
