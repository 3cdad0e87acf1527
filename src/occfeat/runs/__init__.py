"""Run folders: what lies in them, and how it is written and read."""
