"""Annotated boxes of a segment."""

from collections.abc import Mapping

import numpy as np
from jaxtyping import Float64
from numpy import ndarray

from occfeat.data.formats.nuscenes.writer.values import AnnotatedBox, EgoPose
from occfeat.data.recordings.waymo.component import TIME, Component

CATEGORIES = {
    1: ("vehicle.unspecified", None),
    2: ("human.pedestrian.unspecified", None),
    3: ("static_object.sign", None),
    4: ("vehicle.bicycle", "cycle.with_rider"),
}
"""Category and attribute of each type, in nuScenes' words. Waymo does not tell cars from trucks and buses."""
UNKNOWN = ("unknown", None)
"""For every other type."""


def read_boxes(component: Component, frames: Mapping[int, EgoPose]) -> dict[int, list[AnnotatedBox]]:
    """Return the boxes of some frames by time in microseconds.

    Args:
        component: The component `lidar_box`. Its boxes are in the vehicle's frame, at the pose of the frame.
        frames: Pose of each frame to read, by time.

    Raises:
        DatasetError: The component is damaged, or a box is impossible.
    """
    center, size = ([f"box.{name}.{axis}" for axis in "xyz"] for name in ("center", "size"))
    points = "num_lidar_points_in_box"
    rows = component.read((TIME, "key.laser_object_id", *center, *size, "box.heading", "type", points))
    centers_ego = np.stack([rows.numbers(name) for name in center], axis=1)
    sizes_m = np.stack([rows.numbers(name) for name in size], axis=1)
    heading_rad, kinds, counts = rows.numbers("box.heading"), rows.integers("type"), rows.integers(points)
    boxes: dict[int, list[AnnotatedBox]] = {}
    for i, (time_us, instance) in enumerate(
        zip(rows.integers(TIME).tolist(), rows.texts("key.laser_object_id"), strict=True)
    ):
        if time_us in frames:
            pose = np.asarray(frames[time_us].global_from_ego)
            category, attribute = CATEGORIES.get(int(kinds[i]), UNKNOWN)
            box = AnnotatedBox(
                category,
                instance,
                pose[:3, :3] @ centers_ego[i] + pose[:3, 3],
                sizes_m[i],
                _yaw_global(pose, float(heading_rad[i])),
                lidar_points=int(counts[i]),
                attribute=attribute,
            )
            boxes.setdefault(time_us, []).append(box)
    return boxes


def _yaw_global(global_from_ego: Float64[ndarray, "4 4"], heading_rad: float) -> float:
    """Return the direction of a heading in the global frame, seen from above."""
    ahead = global_from_ego[:2, 0] * np.cos(heading_rad) + global_from_ego[:2, 1] * np.sin(heading_rad)
    return float(np.arctan2(ahead[1], ahead[0]))
