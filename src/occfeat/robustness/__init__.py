"""Robustness: nuScenes-C's corruptions made on the fly, its released files, and what is counted from them."""
