"""The segments of a folder, and which components each has.

A folder of the data set holds `training`, `validation` and `testing`, each of these a folder per component,
and each of these a file per segment: `training/camera_image/<segment>.parquet`.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from occfeat.data.recordings.waymo.component import Component
from occfeat.errors import DatasetError

SPLITS = {"training": "train", "validation": "val", "testing": "test"}
"""Split of each folder."""
NEEDED = ("vehicle_pose", "camera_image", "camera_calibration")
LIDAR = ("lidar", "lidar_calibration", "lidar_pose")
"""Components of the LiDARs: all or none."""
OPTIONAL = ("lidar_box", "stats")


@dataclass(frozen=True)
class Segment:
    """A segment of 20 s: one scene."""

    name: str
    split: str | None
    """None: the folder is not one of a split."""
    files: Mapping[str, Path]
    """File of each component that is there."""

    @property
    def has_lidar(self) -> bool:
        """Whether it has the components of the LiDARs."""
        return "lidar" in self.files

    def open(self, tag: str) -> Component:
        """Return a component.

        Raises:
            DatasetError: It cannot be read.
        """
        return Component(self.files[tag], tag)


def find_segments(path: Path) -> list[Segment]:
    """Return the segments of a data set, or of one of its splits, in order; none of another format.

    Raises:
        DatasetError: Components are missing.
    """
    parts = [path, *(path / name for name in (*SPLITS, "testing_location"))]
    found = [segment for part in parts for segment in _segments_of(part)]
    broken = {segment.name: lacking for segment in found if (lacking := _lacking(segment))}
    if broken:
        first = [f"{name}: {', '.join(lacking)}" for name, lacking in broken.items()]
        hint = "Download the components, or move these segments elsewhere."
        what = f"{len(broken)} of {len(found)} Waymo segments lack components."
        raise DatasetError(what, first=first[:10], hint=hint)
    return found


def _segments_of(folder: Path) -> list[Segment]:
    """Return the segments of one split."""
    files: dict[str, dict[str, Path]] = {}
    for tag in (*NEEDED, *LIDAR, *OPTIONAL):
        for file in sorted((folder / tag).glob("*.parquet")):
            files.setdefault(file.stem, {})[tag] = file
    split = SPLITS.get(folder.resolve().name)
    return [Segment(name, split, files[name]) for name in sorted(files)]


def _lacking(segment: Segment) -> list[str]:
    """Return the components without which a segment cannot be used."""
    needed = NEEDED if not set(LIDAR) & set(segment.files) else (*NEEDED, *LIDAR)
    return [tag for tag in needed if tag not in segment.files]
