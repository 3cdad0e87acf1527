"""Commands about data sets: `check`, `index` and `view`."""
