"""Towns: roads, junctions, lanes, and the lots between them."""
