"""One function per command, each taking its settings."""
