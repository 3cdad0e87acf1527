"""The writer of data sets in nuScenes format; needs no torch."""
