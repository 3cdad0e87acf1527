"""HTML pages that open from disk: the report of runs, and what it is made of."""
