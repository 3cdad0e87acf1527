"""Recordings that are containers, and how they become a data set in nuScenes format; needs no torch."""
