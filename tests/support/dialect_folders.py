"""Folders of nuScenes' dialects: a made-up set in nuScenes format, renamed and changed into each of them."""

import json
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from tests.support.nuscenes_folder import build_nuscenes_folder, edit_table, read_records
from tests.support.point_files import write_pcd

PLACES = {"LIDAR_LEFT": (1.5, 0.9, 1.2), "LIDAR_RIGHT": (1.5, -0.9, 1.2)}
DISTORTION = [-0.2, 0.05, 0.001, -0.002, 0.0]
PCD = np.dtype([("x", "<f4"), ("y", "<f4"), ("z", "<f4"), ("intensity", "<f4"), ("timestamp", "<u8")])


def build_plain(root: Path, lidars: Mapping[str, tuple[float, float, float]], **fields: Any) -> Path:
    """Write the content that the dialects have, in nuScenes format."""
    small = {"key_frames": 2, "image_size": (40, 64), "channels": ("CAM_FRONT", "CAM_BACK"), "boxes": 8}
    return build_nuscenes_folder(root, lidars=lidars, returns=300, **{**small, **fields})


def build_truckscenes(root: Path) -> Path:
    """Write MAN TruckScenes: compressed `.pcd` files, no logs and maps."""
    build_plain(root, PLACES)
    for name in ("log", "map"):
        (root / "v1.0-mini" / f"{name}.json").unlink()
    for name in ("ego_motion_chassis", "ego_motion_cabin"):
        (root / "v1.0-mini" / f"{name}.json").write_text("[]")
    edit_table(root, "scene", lambda rows: [row.update(log_token="") for row in rows])
    for path in list(root.glob("s*/LIDAR*/*.pcd.bin")):
        values = np.fromfile(path, "<f4").reshape(-1, 5)
        points = np.zeros(len(values), PCD)
        for column, name in enumerate(("x", "y", "z", "intensity")):
            points[name] = values[:, column]
        path.with_name(path.name.removesuffix(".bin")).write_bytes(write_pcd(points, "binary_compressed"))
        path.unlink()
    _rename_files(root, "v1.0-mini", lambda name: name.removesuffix(".bin"))
    return root


def build_lyft(root: Path, version: str = "train_data") -> Path:
    """Write Lyft Level 5: flat folders, times with fractions, categories without prefixes, no visibility."""
    prefix = "train_" if version == "train_data" else ""
    build_plain(root, {**PLACES, "LIDAR_TOP": (0.9, 0.0, 1.8)})
    (root / "v1.0-mini").rename(root / version)
    for kind, ending in (("lidar", ".pcd.bin"), ("images", ".jpg")):
        (root / f"{prefix}{kind}").mkdir()
        for path in list(root.glob(f"s*/*/*{ending}")):
            path.rename(root / f"{prefix}{kind}" / path.name.replace(".pcd.bin", ".bin"))
    for name in ("samples", "sweeps"):
        shutil.rmtree(root / name)

    def flat(name: str) -> str:
        """Return the name in the tables, which knows no prefix."""
        kind = "lidar" if name.endswith(".bin") else "images"
        return f"{kind}/{Path(name).name.replace('.pcd.bin', '.bin')}"

    _rename_files(root, version, flat)
    for name in ("sample", "sample_data"):
        edit_table(root, name, lambda rows: [_add(row, "timestamp", 0.4) for row in rows], version)
    edit_table(root, "sample_annotation", lambda rows: [_hide(row) for row in rows], version)
    names = {"vehicle.car": "car", "human.pedestrian.adult": "pedestrian", "vehicle.truck": "truck"}
    _rename_categories(root, version, names)
    return root


def build_t4(root: Path) -> Path:
    """Write T4: tables in `annotation`, seven numbers per return, visibility by level, distortion."""
    build_plain(root, {"LIDAR_CONCAT": (0.0, 0.0, 0.0)})
    (root / "v1.0-mini").rename(root / "annotation")
    (root / "data" / "LIDAR_CONCAT_INFO").mkdir(parents=True)
    for folder in {path.parent.name for path in root.glob("s*/*/*")}:
        (root / "data" / folder).mkdir(exist_ok=True)
    for path in list(root.glob("s*/*/*.*")):
        moved = root / "data" / path.parent.name / path.name
        path.rename(moved)
        if moved.suffix == ".bin":
            values = np.fromfile(moved, "<f4").reshape(-1, 5)
            np.hstack((values, values[:, :2] * 0.001)).astype("<f4").tofile(moved)
            stem = moved.name.removesuffix(".pcd.bin")
            info = {"num_pts_feats": 7, "sources": []}
            (root / "data" / "LIDAR_CONCAT_INFO" / f"{stem}.json").write_text(json.dumps(info))
    _rename_files(root, "annotation", lambda name: f"data/{name.partition('/')[2]}")
    levels = {"1": "none", "2": "v40-60", "3": "most", "4": "full"}
    edit_table(
        root,
        "visibility",
        lambda rows: [row.update(token=f"hash{row['token']}", level=levels[row["token"]]) for row in rows],
        "annotation",
    )
    edit_table(
        root,
        "sample_annotation",
        lambda rows: [row.update(visibility_token=f"hash{row['visibility_token']}") for row in rows],
        "annotation",
    )
    edit_table(root, "calibrated_sensor", lambda rows: [_distort(row) for row in rows], "annotation")
    edit_table(root, "sample_data", _add_invalid, "annotation")
    names = {"vehicle.car": "car", "human.pedestrian.adult": "PEDESTRIAN", "vehicle.truck": "truck"}
    _rename_categories(root, "annotation", names)
    return root


def _rename_files(root: Path, version: str, rename: Any) -> None:
    """Change the names of files in the tables."""

    def change(rows: list[dict[str, Any]]) -> None:
        for row in rows:
            row["filename"] = rename(row["filename"])

    edit_table(root, "sample_data", change, version)


def _rename_categories(root: Path, version: str, names: Mapping[str, str]) -> None:
    """Change the names of some categories."""

    def change(rows: list[dict[str, Any]]) -> None:
        for row in rows:
            row["name"] = names.get(row["name"], row["name"])

    edit_table(root, "category", change, version)


def _add(row: dict[str, Any], name: str, number: float) -> None:
    row[name] += number


def _hide(row: dict[str, Any]) -> None:
    row["visibility_token"] = "anything"


def _distort(row: dict[str, Any]) -> None:
    row["camera_distortion"] = DISTORTION if row["camera_intrinsic"] else []


def _add_invalid(rows: list[dict[str, Any]]) -> None:
    """Add a second image of a key frame that is not valid, which stands for a frame that was lost."""
    image = next(row for row in rows if row["filename"].endswith(".jpg"))
    rows.append({**image, "token": "lost", "is_valid": False, "filename": "data/lost.jpg"})


def plain_with_lens(root: Path) -> Path:
    """Write the content of T4 in nuScenes format, its distortion as the field `lens`."""
    build_plain(root, {"LIDAR_CONCAT": (0.0, 0.0, 0.0)})
    lens = {"model": "brown_conrady", "coefficients": DISTORTION}
    cameras = {row["token"] for row in read_records(root, "sensor") if row["modality"] == "camera"}
    edit_table(
        root,
        "calibrated_sensor",
        lambda rows: [row.update(lens=lens) for row in rows if row["sensor_token"] in cameras],
    )
    return root
