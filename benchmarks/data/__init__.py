"""Reading of data sets, recordings and caches."""
