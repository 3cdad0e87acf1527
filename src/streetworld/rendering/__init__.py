"""What sensors make of a scene: light, surfaces, ray tracing, camera, LiDAR, and the labels that follow."""
