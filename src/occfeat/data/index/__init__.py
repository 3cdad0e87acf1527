"""The index: the content of a data set's tables, in one memory-mapped file."""
