"""Bags of ROS 1 and ROS 2: their messages as typed values."""
