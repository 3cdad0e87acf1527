"""The format of the Argoverse 2 sensor data set, read in place."""
