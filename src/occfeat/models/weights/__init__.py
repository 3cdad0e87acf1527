"""Weights: read from files, packages and hubs, and loaded strictly."""
