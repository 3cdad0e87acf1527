"""Pretraining as in the paper: predict LiDAR occupancy and the teacher's features."""
