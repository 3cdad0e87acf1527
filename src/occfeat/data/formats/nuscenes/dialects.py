"""Data sets whose tables are nuScenes' with small differences, read in place.

This module imports no torch.
"""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import orjson

from occfeat.data.formats.nuscenes.dialect import LEVELS, Dialect, lyft_prefix
from occfeat.data.formats.nuscenes.source import NuScenes
from occfeat.data.formats.nuscenes.splits import read_own_splits
from occfeat.data.formats.nuscenes.tables import NEEDED_TABLES, PLACE_TABLES
from occfeat.data.formats.points.files import check_points_file, read_points_file
from occfeat.data.source.place import Place
from occfeat.data.source.source import DataSource, LayerMap, Taxonomy
from occfeat.data.source.sweep import Sweep
from occfeat.errors import KeyFrameError


class _Dialect(NuScenes):
    """A dialect: no official splits, no map layers, no archives to name."""

    @classmethod
    def advice(cls, root: Path) -> str:
        """Return nothing; nuScenes gives the advice."""
        return ""

    def splits(self) -> dict[str, tuple[str, ...]]:
        """Return the splits of `splits.json`; none without it."""
        return read_own_splits(self.root, self.version)

    def read_map(self, place: Place, layers: Sequence[str]) -> LayerMap:
        """Refuse map layers."""
        return DataSource.read_map(self, place, layers)

    def notes(self, places: Iterable[Place]) -> tuple[str, ...]:
        """Return a note if there are no splits."""
        if self.splits():
            return ()
        return (f"No splits.json in {self.root}: `all` is the only split.",)

    def hints(self) -> Mapping[str, str]:
        """Return nothing: the default hints hold."""
        return {}


class TruckScenes(_Dialect):
    """MAN TruckScenes: `.pcd` files, several LiDARs, no logs and no maps.

    Source: schema and loaders of truckscenes-devkit (github.com/TUMFTM/truckscenes-devkit,
    docs/schema_truckscenes.md, src/truckscenes/utils/data_classes.py). Its versions are named like nuScenes',
    so the tables of its ego motion, which nuScenes does not have, tell the two apart.
    """

    name = "truckscenes"
    taxonomy = Taxonomy(
        classes=NuScenes.taxonomy.classes,
        kinds={**NuScenes.taxonomy.kinds, "trailer": ("vehicle.trailer", "vehicle.ego_trailer")},
        others=NuScenes.taxonomy.others,
        low_visibility=1,  # 0-40 %
    )
    other_tables = ("attribute", "visibility")


class Lyft(_Dialect):
    """Lyft Level 5 Perception: three LiDARs of five float32, categories without prefixes, no visibility.

    Source: schema and loaders of Lyft's devkit (github.com/lyft/nuscenes-devkit, schema.md,
    lyft_dataset_sdk/utils/data_classes.py). Times have fractions of microseconds. Tables lie in a folder such
    as `v1.02-train` or `data` beside `lidar` and `images`, or in `train_data` beside `train_lidar` and
    `train_images`. The map is a picture of the streets, not a mask, and is not read.
    """

    name = "lyft"
    taxonomy = Taxonomy(
        classes={
            "vehicle": (
                *("car", "truck", "bus", "bicycle", "motorcycle"),
                *("emergency_vehicle", "other_vehicle"),
            ),
            "pedestrian": ("pedestrian",),
        },
        kinds={
            "car": ("car",),
            "truck": ("truck", "emergency_vehicle", "other_vehicle"),
            "bus": ("bus",),
            "two-wheeler": ("bicycle", "motorcycle"),
            "pedestrian": ("pedestrian",),
        },
        others=("animal",),
    )
    widths = (5,)

    @property
    def dialect(self) -> Dialect:
        """Tables without visibility; files with a prefix if the tables' folder has one."""
        return Dialect(has_visibility=False, file_prefix=lyft_prefix(self.version))


def _upper_too(*names: str) -> tuple[str, ...]:
    """Return names in lower and in upper case."""
    return (*names, *(name.upper() for name in names))


class T4(_Dialect):
    """T4, TIER IV's format: tables in `annotation`, files in `data`, cameras with distortion.

    Source: schema of t4-devkit (github.com/tier4/t4-devkit, docs/schema/table.md and data.md), categories of
    tier4_perception_dataset (config/label/object.yaml). Visibility tokens are looked up in their table:
    `none` is level 1, which `/visible` ignores, `full` is 4. Records with `is_valid` false are left out. A
    LiDAR file has five float32 per return, or as many as the file of `LIDAR_..._INFO` states.
    """

    name = "t4"
    taxonomy = Taxonomy(
        classes={
            "vehicle": (
                "vehicle",
                *_upper_too("car", "truck", "bus", "trailer", "bicycle", "motorcycle", "motorbike"),
                *_upper_too("ambulance", "fire_truck", "police_car", "forklift"),
            ),
            "pedestrian": _upper_too(
                *("pedestrian", "construction_worker", "police_officer"),
                *("personal_mobility", "stroller", "wheelchair"),
            ),
        },
        kinds={
            "car": ("vehicle.car", "vehicle.police", *_upper_too("car", "police_car")),
            "truck": (
                *("vehicle.truck", "vehicle.construction", "vehicle.ambulance", "vehicle.fire"),
                *_upper_too("truck", "ambulance", "fire_truck", "forklift"),
            ),
            "bus": ("vehicle.bus", *_upper_too("bus")),
            "trailer": ("vehicle.trailer", *_upper_too("trailer")),
            "two-wheeler": (
                *("vehicle.bicycle", "vehicle.motorcycle", "vehicle.motorbike"),
                *_upper_too("bicycle", "motorcycle", "motorbike"),
            ),
            "pedestrian": _upper_too("pedestrian", "construction_worker", "police_officer"),
            "barrier": (
                "movable_object.barrier",
                "movable_object.traffic",
                *_upper_too("barrier", "traffic"),
            ),
        },
        others=(*NuScenes.taxonomy.others, *_upper_too("unknown", "other")),
        low_visibility=1,
    )
    needed_tables = (*NEEDED_TABLES, "visibility")
    optional_files = frozenset(PLACE_TABLES)
    other_tables = ("attribute", "log", "map")

    @classmethod
    def advice(cls, root: Path) -> str:
        """Return a hint which folder to give if the versions of a data set lie in this one."""
        inside = sorted(folder.parent for folder in root.glob("*/annotation") if folder.is_dir())
        return f"For T4, give the folder of `annotation` and `data`, such as {inside[0]}." if inside else ""

    @property
    def dialect(self) -> Dialect:
        """Visibility by level, old names too, and distortion."""
        new = {"none": 1, "partial": 2, "most": 3, "full": 4}
        return Dialect(levels=new | dict(LEVELS), has_distortion=True)

    def read_sweep(self, path: Path) -> Sweep:
        """Return the content of a LiDAR file."""
        return read_points_file(path, (_width(path),))

    def check_bytes(self, path: Path, size: int) -> None:
        """Refuse a LiDAR file of an impossible size."""
        check_points_file(path, size, (_width(self.root / path),))


def _width(path: Path) -> int:
    """Return the number of float32 per return of a LiDAR file, from its file of information if it has one."""
    info = path.parent.with_name(f"{path.parent.name}_INFO") / f"{path.name.partition('.')[0]}.json"
    if not info.is_file():
        return 5
    try:
        content = orjson.loads(info.read_bytes())
        width = content.get("num_pts_feats", 5) if isinstance(content, dict) else None
    except (OSError, orjson.JSONDecodeError) as error:
        raise KeyFrameError(f"LiDAR information {info} cannot be read: {error}.") from error
    if type(width) is not int or not 4 <= width <= 64:
        raise KeyFrameError(f"LiDAR information {info}: expected num_pts_feats from 4 to 64, got {width!r}.")
    return width
