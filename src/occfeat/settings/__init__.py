"""Settings: what can be set, where it comes from, and how errors are explained. Imports no torch."""
