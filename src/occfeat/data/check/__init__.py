"""The check of a data folder."""
