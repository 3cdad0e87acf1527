"""Recordings for the viewer of rerun."""
