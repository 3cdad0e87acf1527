"""How well cameras fit the LiDAR: depth edges of sweeps on edges of images (Levinson and Thrun, RSS 2013)."""
