"""Calibration that cannot be: cameras, LiDARs, poses and boxes that contradict the car or each other."""
