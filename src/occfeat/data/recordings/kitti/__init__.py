"""KITTI raw as recordings: an example of a folder with plain files."""
