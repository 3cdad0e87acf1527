"""Pages: reports as HTML files that open from disk."""
