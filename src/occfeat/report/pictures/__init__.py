"""Pictures of images, BEV, voxels, features and metrics."""
