"""Templates of things as meshes, their materials, and the list of the objects of a scene."""
