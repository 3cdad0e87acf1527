"""LiDAR sweeps and the way of the car around a key frame: returns, windows, voxels that rays cross."""
