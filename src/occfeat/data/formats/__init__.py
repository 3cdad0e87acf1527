"""Formats of recorded drives, and the list of the known ones."""
