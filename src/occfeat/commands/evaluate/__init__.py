"""Commands that measure what a run has learned: `evaluate` and `analyse`."""
