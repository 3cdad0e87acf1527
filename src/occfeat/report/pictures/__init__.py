"""Pictures: every array as an image that a person can read."""
