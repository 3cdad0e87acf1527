"""Things: the meshes of vehicles, people, buildings and clutter, and what they are made of."""
