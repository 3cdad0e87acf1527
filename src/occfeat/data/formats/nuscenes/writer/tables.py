"""Merges the rows of finished scenes; the folder of tables is written atomically.

Only the rows of one scene are in memory at a time.
"""

import os
import shutil
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path

import orjson

from occfeat.data.formats.nuscenes.writer.rows import Row
from occfeat.data.formats.nuscenes.writer.scene import named_row, rows_file
from occfeat.errors import DatasetError, RunError
from occfeat.machine.atomic import sync_folder, write_bytes_atomic

CATEGORIES = (
    "human.pedestrian.adult",
    "human.pedestrian.child",
    "human.pedestrian.wheelchair",
    "human.pedestrian.stroller",
    "human.pedestrian.personal_mobility",
    "human.pedestrian.police_officer",
    "human.pedestrian.construction_worker",
    "animal",
    "vehicle.car",
    "vehicle.motorcycle",
    "vehicle.bicycle",
    "vehicle.bus.bendy",
    "vehicle.bus.rigid",
    "vehicle.truck",
    "vehicle.construction",
    "vehicle.emergency.ambulance",
    "vehicle.emergency.police",
    "vehicle.trailer",
    "movable_object.barrier",
    "movable_object.trafficcone",
    "movable_object.pushable_pullable",
    "movable_object.debris",
    "static_object.bicycle_rack",
)
"""nuScenes' categories, which every data set lists first."""

ATTRIBUTES = (
    "vehicle.moving",
    "vehicle.stopped",
    "vehicle.parked",
    "cycle.with_rider",
    "cycle.without_rider",
    "pedestrian.sitting_lying_down",
    "pedestrian.standing",
    "pedestrian.moving",
)
"""nuScenes' attributes, which every data set lists first."""

VISIBILITIES = {"1": "v0-40", "2": "v40-60", "3": "v60-80", "4": "v80-100"}

SCENE_TABLES = ("scene", "log", "sample", "sample_data", "ego_pose", "sample_annotation", "instance")
"""Tables whose rows each belong to one scene."""


def write_tables(
    root: Path, version: str, scenes: Sequence[str], splits: Mapping[str, Sequence[str]]
) -> Path:
    """Write the tables of finished scenes.

    Args:
        root: The data folder.
        version: Name of the folder of tables.
        scenes: Names of all scenes, in the order of the tables.
        splits: Names of the scenes of each split. Empty: nuScenes' official splits apply.

    Returns:
        The folder of tables.

    Raises:
        DatasetError: Scenes contradict each other, or a base map is missing.
        RunError: The tables cannot be written.
    """
    building = root / f".{version}"
    try:
        shutil.rmtree(building, ignore_errors=True)
        building.mkdir(parents=True)
        shared = _write_scene_tables(root, version, scenes)
        for name, rows in shared.tables().items():
            write_bytes_atomic(building / f"{name}.json", orjson.dumps(rows, option=orjson.OPT_INDENT_2))
        if splits:
            content = {split: list(names) for split, names in splits.items()}
            write_bytes_atomic(building / "splits.json", orjson.dumps(content, option=orjson.OPT_INDENT_2))
        building.replace(root / version)
        sync_folder(root)  # before the rows of the scenes are removed
    except OSError as error:
        hint = "Free disk space or check the folder's permissions, then try again."
        raise RunError(f"The tables in {root} could not be written: {error}.", hint=hint) from error
    return root / version


def _write_scene_tables(root: Path, version: str, scenes: Sequence[str]) -> "SharedRows":
    """Copy the rows of each scene, and return the shared rows."""
    shared = SharedRows(root)
    with ExitStack() as opened:
        tables = {name: _Table(root / f".{version}" / f"{name}.json") for name in SCENE_TABLES}
        for table in tables.values():
            opened.callback(table.close)
        for scene in scenes:
            rows: dict[str, list[Row]] = orjson.loads(rows_file(root, version, scene).read_bytes())
            shared.add(scene, rows)
            for name, table in tables.items():
                table.add(rows[name])
    return shared


class _Table:
    """A JSON list that grows on disk, formatted like orjson's output."""

    def __init__(self, path: Path) -> None:
        self._file = path.open("wb")
        self._end = b"[]"

    def add(self, rows: list[Row]) -> None:
        """Append rows."""
        if rows:
            self._file.write(b"[" if self._end == b"[]" else b",")
            self._file.write(orjson.dumps(rows, option=orjson.OPT_INDENT_2)[1:-2])  # without its brackets
            self._end = b"\n]"

    def close(self) -> None:
        """End the list and force it to disk."""
        with self._file as file:
            file.write(self._end)
            file.flush()
            os.fsync(file.fileno())


class SharedRows:
    """Rows shared by scenes, without duplicates.

    Args:
        root: The data folder, which must contain the base maps.
    """

    def __init__(self, root: Path) -> None:
        self._root = root
        self._rows: dict[str, dict[str, Row]] = {
            name: {} for name in ("sensor", "calibrated_sensor", "category", "attribute", "map")
        }
        for name, words in (("category", CATEGORIES), ("attribute", ATTRIBUTES)):
            self._rows[name] = {row["token"]: row for row in (named_row(name, word) for word in words)}

    def add(self, scene: str, rows: Mapping[str, list[Row]]) -> None:
        """Add the rows of a scene.

        Raises:
            DatasetError: It contradicts earlier scenes, or its base map is missing.
        """
        for row in rows["map"]:
            self._add_map(scene, row)
        for name in ("sensor", "calibrated_sensor", "category", "attribute"):
            for row in rows[name]:
                known = self._rows[name].setdefault(row["token"], row)
                if known != row:
                    hint = "Give each calibration a rig with a unique name."
                    what = f"Scene {scene!r} has a rig that differs from an earlier one of the same name."
                    raise DatasetError(what, hint=hint)

    def _add_map(self, scene: str, row: Row) -> None:
        """Add the log of a scene to its map."""
        if not (self._root / row["filename"]).is_file():
            hint = "Put the PNG there before closing the writer."
            raise DatasetError(f"Base map {row['filename']} of scene {scene!r} is missing.", hint=hint)
        known = self._rows["map"].setdefault(row["token"], {**row, "log_tokens": []})
        if known["filename"] != row["filename"]:
            first = [known["filename"], row["filename"]]
            hint = "Give each base map a unique name."
            raise DatasetError("Two base maps differ only by their folder or ending.", first=first, hint=hint)
        known["log_tokens"] += row["log_tokens"]

    def tables(self) -> dict[str, list[Row]]:
        """Return the rows of the tables that scenes share."""
        visibility = [
            {"token": number, "level": level, "description": f"visibility of the object is {level[1:]} %"}
            for number, level in VISIBILITIES.items()
        ]
        return {**{name: list(rows.values()) for name, rows in self._rows.items()}, "visibility": visibility}
