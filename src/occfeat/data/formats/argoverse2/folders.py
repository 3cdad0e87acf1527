"""The folders of an Argoverse 2 sensor set: splits, logs, and files that are named by their time."""

import os
import re
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Int64
from numpy import ndarray

SPLITS = ("train", "val", "test")
"""Folders that hold logs, and the names of the splits."""

POSES = "city_SE3_egovehicle.feather"
SENSOR_POSES = "calibration/egovehicle_SE3_sensor.feather"
INTRINSICS = "calibration/intrinsics.feather"
ANNOTATIONS = "annotations.feather"
TABLES = (POSES, SENSOR_POSES, INTRINSICS, ANNOTATIONS)
"""Tables of a log. Those of the official split `test` have no annotations."""

CAMERA_FOLDER = "sensors/cameras"
LIDAR_FOLDER = "sensors/lidar"
MAP_FOLDER = "map"

_MAP = re.compile(r"log_map_archive_.*____([A-Za-z]+)_city_.*\.json")
_TIME = "[1-8][0-9]{18}|[1-9][0-9]{0,17}"  # nanoseconds in 63 bits


@dataclass(frozen=True)
class Log:
    """One recording."""

    split: str
    """Its split; empty if its folder lies in no folder of a split."""
    path: str
    """Its folder, relative to the data folder."""

    @property
    def name(self) -> str:
        """Name of its folder, a UUID, which is the name of its scene."""
        return self.path.rpartition("/")[2]


def holds_logs(folder: Path) -> bool:
    """Return whether a folder holds at least one log."""
    return any(is_log(folder / name) for name in folder_names(folder))


def is_log(folder: Path) -> bool:
    """Return whether a folder is a log, by the names of its files."""
    return (folder / POSES).is_file() or (folder / SENSOR_POSES).is_file()


def find_logs(root: Path) -> list[Log]:
    """Return the logs of a data folder by split and name.

    The data folder holds folders of splits, or logs. Every folder beside a log is taken for a log, so that
    an incomplete one is reported.
    """
    found = [split for split in SPLITS if holds_logs(root / split)]
    if found:
        return [Log(split, f"{split}/{name}") for split in found for name in folder_names(root / split)]
    own = root.resolve().name
    return [Log(own if own in SPLITS else "", name) for name in folder_names(root)]


def folder_names(folder: Path) -> list[str]:
    """Return the names of the folders in a folder, in order; none if it cannot be read."""
    try:
        with os.scandir(folder) as entries:
            return sorted(one.name for one in entries if not one.name.startswith(".") and one.is_dir())
    except OSError:
        return []


def file_names(folder: Path) -> list[str]:
    """Return all names in a folder that are not hidden, in order; none if it cannot be read."""
    try:
        with os.scandir(folder) as entries:
            return sorted(one.name for one in entries if not one.name.startswith("."))
    except OSError:
        return []


def read_times(folder: Path, ending: str) -> tuple[Int64[ndarray, " n"], list[str]]:
    """Return the times in nanoseconds of the files in a folder, in order, and the names that are no times."""
    named = re.compile(rf"({_TIME})\{ending}")
    matches = [(name, named.fullmatch(name)) for name in file_names(folder)]
    times = [int(match[1]) for _, match in matches if match]
    return np.sort(np.array(times, dtype=np.int64)), [name for name, match in matches if not match]


def find_map(folder: Path) -> tuple[str, str] | None:
    """Return the city and the file name of the map of a log; None if there is no map."""
    matches = [match for name in file_names(folder / MAP_FOLDER) if (match := _MAP.fullmatch(name))]
    return (matches[0][1], f"{MAP_FOLDER}/{matches[0][0]}") if matches else None
