"""Output: scenes, tables and maps as files."""
