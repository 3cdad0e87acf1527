"""What differs between nuScenes and its dialects when their tables are joined."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from occfeat.data.formats.nuscenes.tables import NEEDED_TABLES, OTHER_TABLES

TOKENS: Mapping[str, int] = {"1": 1, "2": 2, "3": 3, "4": 4}
"""Visibility level of each token of nuScenes, where the table of visibility does not say it."""

LEVELS: Mapping[str, int] = {"v0-40": 1, "v40-60": 2, "v60-80": 3, "v80-100": 4}
"""Visibility of each `level` in nuScenes' table."""


@dataclass(frozen=True)
class Dialect:
    """How to read the tables of a dialect."""

    levels: Mapping[str, int] = field(default_factory=lambda: LEVELS)
    """Visibility of each `level` in the table `visibility`."""
    has_visibility: bool = True
    """Whether visibility tokens mean anything."""
    has_distortion: bool = False
    """Whether `calibrated_sensor` has a field `camera_distortion`: k1 k2 p1 p2 k3, in OpenCV's order."""
    file_prefix: str = ""
    """What precedes the file names of the tables on disk."""


NUSCENES = Dialect()

NUIMAGES = "nuimages"
"""Name of tables of single images with boxes in them, which are of no use here."""

_LYFT = re.compile(r"v1\.0\d-.+|(.+_)?data")
"""Names of Lyft's folders of tables."""


def has_tables(folder: Path) -> bool:
    """Return whether a folder contains at least one table."""
    return any((folder / f"{name}.json").is_file() for name in (*NEEDED_TABLES, *OTHER_TABLES))


def dialect_of(folder: Path) -> str:
    """Return the name of the dialect of a folder of tables, according to file names."""
    root = folder.parent
    if (folder / "object_ann.json").is_file() and not (folder / "scene.json").is_file():
        return NUIMAGES
    if any((folder / f"ego_motion_{part}.json").is_file() for part in ("chassis", "cabin")):
        return "truckscenes"
    if folder.name == "annotation" and (root / "data").is_dir():
        return "t4"
    beside = [root / f"{lyft_prefix(folder.name)}{kind}" for kind in ("lidar", "images")]
    if _LYFT.fullmatch(folder.name) and all(one.is_dir() for one in beside):
        return "lyft"
    return "nuscenes"


def lyft_prefix(version: str) -> str:
    """Return what precedes Lyft's folders `lidar` and `images`: `train_` beside tables in `train_data`."""
    return version.removesuffix("data") if version.endswith("_data") else ""
