"""The paper: predict where the LiDAR hit, and what the teacher saw there."""
