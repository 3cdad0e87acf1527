"""Tracklets of KITTI raw: boxes in the LiDAR's frame, in `tracklet_labels.xml`."""

from dataclasses import dataclass
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
from jaxtyping import Float64
from numpy import ndarray

from occfeat.errors import DatasetError

CATEGORIES = {
    "Car": "vehicle.car",
    "Van": "vehicle.car",
    "Truck": "vehicle.truck",
    "Tram": "vehicle.tram",
    "Cyclist": "vehicle.bicycle",
    "Pedestrian": "human.pedestrian.adult",
    "Person (sitting)": "human.pedestrian.adult",
}
"""Categories in nuScenes' words; the others are named `misc`."""


@dataclass(frozen=True, eq=False)
class Tracklet:
    """An object in one frame."""

    category: str
    instance: str
    center_m: Float64[ndarray, "3"]
    """Centre of the box in the LiDAR's frame."""
    size_m: tuple[float, float, float]
    """Length, width and height."""
    yaw_rad: float
    """Direction of the length in the LiDAR's frame, counter-clockwise from x."""


def read_tracklets(path: Path) -> dict[int, list[Tracklet]]:
    """Return the objects of each frame by its number; none if there is no file.

    Raises:
        DatasetError: The file is damaged.
    """
    boxes: dict[int, list[Tracklet]] = {}
    if not path.is_file():
        return boxes
    try:
        for number, item in enumerate(ElementTree.parse(path).getroot().iterfind("tracklets/item")):
            category = CATEGORIES.get(item.findtext("objectType", "").strip(), "misc")
            size_m = tuple(float(item.findtext(name, "")) for name in "lwh")
            first = int(item.findtext("first_frame", ""))
            for frame, pose in enumerate(item.iterfind("poses/item"), first):
                x, y, bottom, yaw = (float(pose.findtext(name, "")) for name in ("tx", "ty", "tz", "rz"))
                center_m = np.array([x, y, bottom + size_m[2] / 2])
                box = Tracklet(category, str(number), center_m, size_m, yaw)  # type: ignore[arg-type]
                boxes.setdefault(frame, []).append(box)
    except (ElementTree.ParseError, OSError, ValueError) as error:
        raise DatasetError(f"{path} is damaged: {error}.", hint="Extract it again.") from error
    return boxes
