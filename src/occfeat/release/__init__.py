"""Released models: what a run ships, how it is published, and how other programs run it."""
