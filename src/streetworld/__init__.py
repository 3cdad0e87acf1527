"""The street world: procedural streets, seen by cameras and a LiDAR, written in nuScenes format.

Needs the extra `world` (embreex). The way of a scene: `towns` and `network` lay out roads, `placement` puts
things beside them, `traffic` moves vehicles and people, `sensors` and `lidar` look at it, `labels` describes
it, `writer` and `maps` write it. `build.build_world` does all of it.
"""
