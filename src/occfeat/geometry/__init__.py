"""Frames, pinhole cameras and grids. Imports nothing from the rest of the package but its errors."""
