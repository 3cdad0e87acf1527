"""The training loop in plain sight, and all that it needs."""
