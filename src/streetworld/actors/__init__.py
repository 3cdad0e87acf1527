"""Actors: who moves in a scene, and how."""
