"""`occfeat doctor`: the installation, and a self-test of a device."""
