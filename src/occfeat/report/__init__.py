"""Pictures; the only place that flips axes for display."""
