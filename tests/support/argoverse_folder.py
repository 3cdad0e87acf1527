"""Writes a folder in nuScenes' format as an Argoverse 2 sensor set: one street, seen through another door.

Each scene becomes a log of the split that holds it. Images are copied byte for byte. Points move to the ego
frame and become half floats, as in the real set. Times of images are drawn nearer to their key frame, because
Argoverse 2's cameras keep within 25 ms of it; the poses at these times stay what they were.
"""

import json
import uuid
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import shapely
import torch
from pyarrow import feather
from scipy.optimize import linear_sum_assignment
from scipy.spatial.transform import Rotation

from occfeat.data.formats.argoverse2.calibrated_sensors import RING
from occfeat.data.formats.nuscenes.map_expansion import read_expansion
from occfeat.data.index.index import Index
from occfeat.data.keyframe import KeyFrame, transform_from_pose
from occfeat.data.maps.masks import ShapeMap
from occfeat.geometry.frames import transform_points
from occfeat.settings.sections import DataConfig

CATEGORIES = {
    "vehicle.car": "REGULAR_VEHICLE",
    "vehicle.truck": "TRUCK",
    "vehicle.bus": "BUS",
    "vehicle.trailer": "VEHICULAR_TRAILER",
    "vehicle.bicycle": "BICYCLE",
    "vehicle.motorcycle": "MOTORCYCLE",
    "vehicle.": "LARGE_VEHICLE",
    "human.pedestrian": "PEDESTRIAN",
    "movable_object.barrier": "BOLLARD",
    "movable_object.trafficcone": "CONSTRUCTION_CONE",
}
"""Categories of Argoverse 2 by the beginnings of nuScenes' names."""

OTHER = "SIGN"
POSE = ("qw", "qx", "qy", "qz", "tx_m", "ty_m", "tz_m")

Columns = dict[str, Any]


def build_argoverse_folder(nuscenes: Path, root: Path, *, precision: str = "float16") -> Path:
    """Write a folder and return `root`, which has the folders of the splits.

    Args:
        nuscenes: A folder in nuScenes' format with at most seven cameras and one LiDAR.
        root: Folder to write.
        precision: Type of the coordinates of points; the real set has `float16`.
    """
    index = Index.open(DataConfig(root=nuscenes))
    for split in index.splits():
        rows = index.rows(split)
        for scene in dict.fromkeys(index.scene_of(rows)):
            log = root / split / log_name(scene)
            of_scene = [int(row) for row in rows if index.scene_of(np.array([row]))[0] == scene]
            _write_log(index, of_scene, log, precision)
    return root


def ring_of(nuscenes: Path, channels: Iterable[str]) -> tuple[str, ...]:
    """Return which cameras of the ring the cameras of a folder become."""
    index = Index.open(DataConfig(root=nuscenes))
    names = _names(index.column("cameras")[0].as_py())
    return tuple(names[index.channels.index(channel)] for channel in channels)


def log_name(scene: str) -> str:
    """Name of the log of a scene."""
    return str(uuid.uuid5(uuid.NAMESPACE_URL, scene))


def write_feather(path: Path, columns: Mapping[str, Any], compression: str = "lz4") -> Path:
    """Write a table; makes its folder."""
    path.parent.mkdir(parents=True, exist_ok=True)
    feather.write_feather(pa.table(dict(columns)), str(path), compression=compression)
    return path


def _write_log(index: Index, rows: list[int], log: Path, precision: str) -> None:
    """Write the key frames of a scene, the sweeps between them, and the tables."""
    poses: dict[int, np.ndarray] = {}
    boxes: list[Columns] = []
    names = _names(index.column("cameras")[rows[0]].as_py())
    for row in rows:
        key_frame = index.key_frame(row)
        key_ns = key_frame.timestamp_us * 1000
        for sweep in index.column("sweeps")[row].as_py():
            if sweep["timestamp_us"] >= index.key_frame(rows[0]).timestamp_us:
                time_ns = sweep["timestamp_us"] * 1000
                poses[time_ns] = np.array(sweep["ego_pose"])
                points = index.source.read_sweep(index.root / sweep["path"]).points
                _write_sweep(
                    log / f"sensors/lidar/{time_ns}.feather", points, sweep["calibration"], precision
                )
        for camera in index.column("cameras")[row].as_py():
            time_ns = key_ns + (camera["timestamp_us"] - key_frame.timestamp_us) * 250
            poses[time_ns] = np.array(camera["ego_pose"])
            path = log / "sensors/cameras" / names[camera["channel"]] / f"{time_ns}.jpg"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes((index.root / camera["path"]).read_bytes())
        boxes.append(_boxes(key_frame, key_ns))
    times = sorted(poses)
    city = _pose_columns([poses[time_ns] for time_ns in times])
    write_feather(log / "city_SE3_egovehicle.feather", {"timestamp_ns": np.array(times), **city})
    joined = {name: np.concatenate([part[name] for part in boxes]) for name in boxes[0]}
    write_feather(log / "annotations.feather", joined)
    _write_calibration(index, rows[0], log)
    _write_map(index, rows[0], log)


def _names(cameras: list[dict[str, Any]]) -> dict[int, str]:
    """Return the camera of the ring that looks most nearly where each camera looks, by its number."""
    poses = [transform_from_pose(torch.tensor(camera["calibration"])).numpy() for camera in cameras]
    yaw_rad = np.array([np.arctan2(pose[1, 2], pose[0, 2]) for pose in poses])
    ring_rad = -2 * np.pi * np.arange(len(RING)) / len(RING)
    apart = 1 - np.cos(yaw_rad[:, None] - ring_rad[None])
    _, nearest = linear_sum_assignment(apart)
    return {camera["channel"]: RING[number] for camera, number in zip(cameras, nearest, strict=True)}


def _write_sweep(path: Path, points: np.ndarray, calibration: list[float], precision: str) -> None:
    """Write a sweep: all returns come from the upper LiDAR."""
    ego_from_lidar = transform_from_pose(torch.tensor(calibration, dtype=torch.float64))
    xyz = transform_points(ego_from_lidar, torch.from_numpy(points[:, :3]).double()).numpy()
    columns = {name: xyz[:, i].astype(precision) for i, name in enumerate("xyz")}
    columns["intensity"] = points[:, 3].clip(0, 255).astype(np.uint8)
    columns["laser_number"] = (points[:, 4] % 32).astype(np.uint8)
    columns["offset_ns"] = np.zeros(len(points), dtype=np.int32)
    write_feather(path, columns, "zstd")


def _boxes(key_frame: KeyFrame, time_ns: int) -> Columns:
    """Rows of the annotations of a key frame, in its ego frame."""
    boxes = key_frame.boxes
    x, y, z, w = Rotation.from_matrix(boxes.ego_from_box.numpy().reshape(-1, 3, 3)).as_quat().T
    length, width, height = boxes.size_m.numpy().T
    return {
        "timestamp_ns": np.full(len(boxes), time_ns),
        "track_uuid": np.array([str(uuid.uuid5(uuid.NAMESPACE_URL, token)) for token in boxes.tokens]),
        "category": np.array([_category(name) for name in boxes.category]),
        **{"length_m": length, "width_m": width, "height_m": height},
        **{"qw": w, "qx": x, "qy": y, "qz": z},
        **dict(zip(("tx_m", "ty_m", "tz_m"), boxes.center_ego.numpy().T, strict=True)),
        "num_interior_pts": boxes.lidar_points.numpy(),
    }


def _category(name: str) -> str:
    """Argoverse 2's category for one of nuScenes."""
    return next((ours for beginning, ours in CATEGORIES.items() if name.startswith(beginning)), OTHER)


def _write_calibration(index: Index, row: int, log: Path) -> None:
    """Write poses and intrinsics of the sensors, which are those of the first key frame."""
    cameras = index.column("cameras")[row].as_py()
    lidar = index.column("sweeps")[row].as_py()[-1]["calibration"]
    names = list(_names(cameras).values())
    poses = [np.array(pose) for pose in (*(camera["calibration"] for camera in cameras), lidar, lidar)]
    columns = {"sensor_name": [*names, "up_lidar", "down_lidar"], **_pose_columns(poses)}
    write_feather(log / "calibration/egovehicle_SE3_sensor.feather", columns)
    pinholes = np.array([camera["intrinsics"] for camera in cameras])
    columns = {"sensor_name": names}
    columns |= {
        name: pinholes[:, at] for name, at in (("fx_px", 0), ("fy_px", 4), ("cx_px", 2), ("cy_px", 5))
    }
    columns |= {name: np.zeros(len(names)) for name in ("k1", "k2", "k3")}
    columns |= {
        f"{side}_px": np.array([camera[side] for camera in cameras], np.uint16)
        for side in ("height", "width")
    }
    write_feather(log / "calibration/intrinsics.feather", columns)


def _pose_columns(poses: list[np.ndarray]) -> Columns:
    """Columns of poses (x, y, z, qw, qx, qy, qz)."""
    x, y, z, qw, qx, qy, qz = np.array(poses).T
    return dict(zip(POSE, (qw, qx, qy, qz, x, y, z), strict=True))


def _write_map(index: Index, row: int, log: Path) -> None:
    """Write the map of a log from the map expansion of its place, if there is one."""
    place = index.key_frame(row).place
    expansion = index.root / "maps" / "expansion" / f"{place.location}.json"
    if expansion.is_file():
        write_map_file(
            log / "map" / f"log_map_archive_{log.name}____PIT_city_1.json", read_expansion(expansion)
        )


def write_map_file(path: Path, shapes: ShapeMap) -> Path:
    """Write the drivable areas, crossings and dividers of a map. Areas with holes are cut in two."""
    areas = _whole(shapes.layers["drivable_area"].geometries)
    crossings = [shapely.get_coordinates(one)[:4] for one in shapes.layers["ped_crossing"].geometries]
    lines = [shapely.get_coordinates(one) for one in shapes.layers["divider"].geometries]
    document = {
        "drivable_areas": {
            str(i): {"id": i, "area_boundary": _points(shapely.get_coordinates(area)[:-1])}
            for i, area in enumerate(areas)
        },
        "pedestrian_crossings": {
            str(i): {"id": i, "edge1": _points(corners[:2]), "edge2": _points(corners[:1:-1])}
            for i, corners in enumerate(crossings)
        },
        "lane_segments": {str(i): _lane(i, line) for i, line in enumerate(lines)},
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(document))
    return path


def _lane(number: int, line: np.ndarray) -> Columns:
    """A lane whose left boundary is painted."""
    return {
        "id": number,
        "is_intersection": False,
        "lane_type": "VEHICLE",
        "left_lane_boundary": _points(line),
        "left_lane_mark_type": "DASHED_WHITE",
        "right_lane_boundary": _points(line + np.array((0.0, 3.0))),
        "right_lane_mark_type": "NONE",
        "successors": [],
        "predecessors": [],
        "left_neighbor_id": None,
        "right_neighbor_id": None,
    }


def _whole(areas: Iterable[shapely.Polygon]) -> list[shapely.Polygon]:
    """Areas without holes."""
    found: list[shapely.Polygon] = []
    for area in areas:
        if not area.interiors:
            found.append(area)
            continue
        x = shapely.centroid(area.interiors[0]).x
        left, bottom, right, top = area.bounds
        halves = [shapely.box(left, bottom, x, top), shapely.box(x, bottom, right, top)]
        pieces = shapely.get_parts(shapely.intersection(area, halves))
        found += _whole(piece for piece in pieces if isinstance(piece, shapely.Polygon))
    return found


def _points(line: np.ndarray) -> list[dict[str, float]]:
    """Points of a line, with heights as in the real files."""
    return [{"x": float(x), "y": float(y), "z": 0.0} for x, y in line]
