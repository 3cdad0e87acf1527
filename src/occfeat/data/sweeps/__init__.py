"""LiDAR sweeps of key frames: their returns."""
