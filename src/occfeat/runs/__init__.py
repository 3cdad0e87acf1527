"""Run folders: the files in them, and how these are written and read."""
