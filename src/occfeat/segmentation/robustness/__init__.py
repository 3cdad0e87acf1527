"""Robustness: what corruptions of the images cost."""
