"""Corruptions of images, as nuScenes-C defines them."""
