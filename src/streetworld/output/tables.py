"""The tables of the whole world: what all scenes share, and the scenes' rows put together."""

import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import orjson

from occfeat.atomic import sync_folder
from streetworld.output.rows import calibration_token, quaternion, token
from streetworld.output.writer import rows_file, write_bytes
from streetworld.request import SceneRequest
from streetworld.rigs import LIDAR, load_rig
from streetworld.town.lots import TownRequest
from streetworld.town.towns import TOWNS

VERSION = "v1.0-street"
"""Folder of the tables."""

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
"""nuScenes' categories; the world uses some of them."""

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
VISIBILITIES = {"1": "v0-40", "2": "v40-60", "3": "v60-80", "4": "v80-100"}

Table = list[dict[str, Any]]


def write_tables(out: Path, requests: Sequence[SceneRequest], splits: dict[str, list[str]]) -> Path:
    """Put the rows of all scenes together; the folder of tables appears at once and complete."""
    tables: dict[str, Table] = {}
    for request in requests:
        for name, rows in orjson.loads(rows_file(out, request.name).read_bytes()).items():
            tables.setdefault(name, []).extend(rows)
    tables.update(_shared_tables(requests, tables["log"]))
    building = out / f".{VERSION}"
    shutil.rmtree(building, ignore_errors=True)
    for name, rows in tables.items():
        write_bytes(building / f"{name}.json", orjson.dumps(rows, option=orjson.OPT_INDENT_2))
    write_bytes(building / "splits.json", orjson.dumps(splits, option=orjson.OPT_INDENT_2))
    building.replace(out / VERSION)
    sync_folder(out)  # before the rows of the scenes are removed
    return out / VERSION


def map_file(town: TownRequest) -> str:
    """Path of a town's base map."""
    return f"maps/{_map_token(town)}.png"


def _map_token(town: TownRequest) -> str:
    return token("map", town.seed, town.number, town.size)


def _shared_tables(requests: Sequence[SceneRequest], logs: Table) -> dict[str, Table]:
    towns = sorted({request.town for request in requests})
    located = {TOWNS[town.number].name: town for town in towns}
    return {
        "category": [
            {"token": token("category", name), "name": name, "description": ""} for name in CATEGORIES
        ],
        "attribute": [
            {"token": token("attribute", name), "name": name, "description": ""} for name in ATTRIBUTES
        ],
        "visibility": [
            {"token": number, "level": level, "description": f"visibility of the object is {level[1:]} %"}
            for number, level in VISIBILITIES.items()
        ],
        "sensor": _sensors(requests[0]),
        "calibrated_sensor": [row for town in towns for row in _calibrations(_first_in(requests, town))],
        "map": [
            {
                "token": _map_token(town),
                "category": "semantic_prior",
                "filename": map_file(town),
                "log_tokens": [log["token"] for log in logs if located[log["location"]] == town],
            }
            for town in towns
        ],
    }


def _first_in(requests: Sequence[SceneRequest], town: TownRequest) -> SceneRequest:
    return next(request for request in requests if request.town == town)


def _sensors(request: SceneRequest) -> Table:
    rows = [
        {"token": token("sensor", camera.channel), "channel": camera.channel, "modality": "camera"}
        for camera in load_rig(request.rig).cameras
    ]
    return [*rows, {"token": token("sensor", LIDAR), "channel": LIDAR, "modality": "lidar"}]


def _calibrations(request: SceneRequest) -> Table:
    rig = request.mounted_rig()
    poses = [
        (camera.channel, camera.ego_from_camera, camera.intrinsics(request.image_size).tolist())
        for camera in rig.cameras
    ]
    return [
        {
            "token": calibration_token(request, channel),
            "sensor_token": token("sensor", channel),
            "translation": [float(part) for part in pose[:3, 3]],
            "rotation": quaternion(pose[:3, :3]),
            "camera_intrinsic": intrinsics,
        }
        for channel, pose, intrinsics in [*poses, (LIDAR, rig.ego_from_lidar, [])]
    ]
