"""Map layers as BEV labels."""
