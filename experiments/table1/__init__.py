"""The first table of the paper."""
