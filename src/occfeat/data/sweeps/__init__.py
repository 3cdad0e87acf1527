"""LiDAR sweeps: returns, what their rays hit and cross, windows of several, and the way of the car."""
