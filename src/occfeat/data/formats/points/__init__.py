"""Files of LiDAR points that several formats have: plain float32, PCD and NumPy; needs no torch."""
