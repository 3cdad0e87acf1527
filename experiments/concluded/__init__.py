"""Experiments that are over: what their numbers in LOG.md are made by."""
