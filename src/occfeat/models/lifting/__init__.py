"""Lifting: image features to voxels and BEV cells."""
