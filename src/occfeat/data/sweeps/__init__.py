"""LiDAR sweeps and the way of the car around a key frame: returns, voxels that rays hit and cross, windows."""
