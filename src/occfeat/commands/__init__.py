"""One function per command, which takes its settings."""
