"""The index: everything the tables of a data set say, in one memory-mapped file."""
