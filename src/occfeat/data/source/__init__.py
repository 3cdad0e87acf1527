"""The interface to formats of recorded drives: data sources and the neutral tables they produce."""
