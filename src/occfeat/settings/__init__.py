"""Settings: their types and defaults, their layers, and error messages. Imports no torch."""
