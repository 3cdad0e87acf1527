"""Rendering: rays, light and surfaces; cameras, LiDAR and visibility."""
