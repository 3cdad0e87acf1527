"""A world on disk: scenes, truth, base maps and map expansions."""
