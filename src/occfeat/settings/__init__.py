"""Settings: what can be set, where it comes from, and how mistakes are explained; imports no torch."""
