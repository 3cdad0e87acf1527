"""Run folders: writing and reading of their files."""
