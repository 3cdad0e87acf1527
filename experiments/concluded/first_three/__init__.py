"""The first three experiments, and what corruptions cost their networks."""
