"""The street world: procedural streets, seen by cameras and a LiDAR, written in nuScenes format.

Needs the extra `world` (embreex). Of `occfeat` it uses only the data-set writer, the errors, atomic writes
and the base of settings. `build.build_world` does everything. One scene goes through the packages like this:

- `town`: roads, junctions and lanes of a town, and the lots of land beside them: a plan (`plan_town`).
- `layout`: the part of a town around one scene's route, built from the plan: ground, houses, trees, parked
  vehicles, clutter (`build_street`).
- `things`: the templates that are placed, as meshes, and the list of objects with colours, texture parameters
  and boxes.
- `actors`: vehicles and people that move (`direct`, `enlist`).
- `rendering`: light, surfaces and ray tracing; what a camera and the LiDAR see, and which boxes are labelled
  from it.
- `output`: images, sweeps, boxes and truth on disk (`write_scene`), base maps and map expansions.

In `scene.Scene` all of it meets: a street with everybody in it, which can be looked at and scanned at any
time. `request` says what a scene is made from, `rigs` where the sensors sit.
"""
