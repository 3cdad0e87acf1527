"""Towns as plans: roads, junctions, lanes, blocks and lots, in metres."""
