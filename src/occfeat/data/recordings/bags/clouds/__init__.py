"""Point clouds of a bag: their points, when each was measured, and all of them moved to one time."""
