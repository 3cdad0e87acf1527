"""Robustness to corruptions of the images."""
