"""Ways to damage a data folder, one thing at a time.

Each function takes a sound folder of `tests.support.nuscenes_folder`. It returns the kind of problem that
`check` must report and a token that it must name.
"""

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from tests.support.nuscenes_folder import Records, edit_table, read_records

Damage = Callable[[Path], tuple[str, str]]


def first(records: Records, part: str) -> dict[str, Any]:
    """The first record of `sample_data` whose file name holds a text."""
    return next(record for record in records if part in record["filename"])


def alter(folder: Path, table: str, change: Callable[[Records], dict[str, Any]]) -> str:
    """Change a table; the token of the record that `change` returns."""
    changed: list[dict[str, Any]] = []
    edit_table(folder, table, lambda records: changed.append(change(records)))
    return str(changed[0]["token"])


def rename(folder: Path, name: str) -> str:
    def change(records: Records) -> dict[str, Any]:
        record = first(records, "samples/CAM_FRONT")
        record["filename"] = name
        return record

    return alter(folder, "sample_data", change)


def file_of(folder: Path, part: str) -> tuple[Path, str]:
    record = first(read_records(folder, "sample_data"), part)
    return folder / record["filename"], record["token"]


def cut_jpeg(folder: Path) -> tuple[str, str]:
    path, token = file_of(folder, "samples/CAM_FRONT")
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    return "damaged image", token


def empty_jpeg(folder: Path) -> tuple[str, str]:
    path, token = file_of(folder, "samples/CAM_FRONT")
    path.write_bytes(b"")
    return "damaged image", token


def text_instead_of_jpeg(folder: Path) -> tuple[str, str]:
    path, token = file_of(folder, "samples/CAM_FRONT")
    path.write_text("<html>not found</html>")
    return "damaged image", token


def other_size(folder: Path) -> tuple[str, str]:
    path, token = file_of(folder, "samples/CAM_FRONT")
    Image.new("RGB", (80, 45)).save(path)
    return "image of another size", token


def absent_image(folder: Path) -> tuple[str, str]:
    path, token = file_of(folder, "samples/CAM_FRONT")
    path.unlink()
    return "missing image", token


def folder_instead_of_image(folder: Path) -> tuple[str, str]:
    path, token = file_of(folder, "samples/CAM_FRONT")
    path.unlink()
    path.mkdir()
    return "missing image", token


def absent_lidar(folder: Path) -> tuple[str, str]:
    path, token = file_of(folder, "samples/LIDAR_TOP")
    path.unlink()
    return "missing LiDAR file", token


def odd_lidar(folder: Path) -> tuple[str, str]:
    path, token = file_of(folder, "samples/LIDAR_TOP")
    path.write_bytes(path.read_bytes()[:-3])
    return "damaged LiDAR file", token


def empty_lidar(folder: Path) -> tuple[str, str]:
    path, token = file_of(folder, "samples/LIDAR_TOP")
    path.write_bytes(b"")
    return "damaged LiDAR file", token


def lidar_of_nan(folder: Path) -> tuple[str, str]:
    path, token = file_of(folder, "samples/LIDAR_TOP")
    np.full((100, 5), np.nan, dtype="<f4").tofile(path)
    return "damaged LiDAR file", token


def parent_folder(folder: Path) -> tuple[str, str]:
    return "file outside the data folder", rename(folder, "../../secret.jpg")


def absolute_name(folder: Path) -> tuple[str, str]:
    return "file outside the data folder", rename(folder, "/etc/passwd")


def link_out(folder: Path) -> tuple[str, str]:
    path, token = file_of(folder, "samples/CAM_FRONT")
    shutil.move(path, folder.parent / "elsewhere.jpg")
    path.symlink_to(folder.parent / "elsewhere.jpg")
    return "file outside the data folder", token


def empty_name(folder: Path) -> tuple[str, str]:
    return "file outside the data folder", rename(folder, "")


def calibration(folder: Path, **fields: Any) -> str:
    """Change the first camera's calibration, which all its images use."""

    def change(records: Records) -> dict[str, Any]:
        records[0].update(fields)
        return records[0]

    return alter(folder, "calibrated_sensor", change)


def singular_intrinsics(folder: Path) -> tuple[str, str]:
    return "singular intrinsics", calibration(folder, camera_intrinsic=[[0, 0, 5], [0, 9, 5], [0, 0, 1]])


def no_intrinsics(folder: Path) -> tuple[str, str]:
    return "singular intrinsics", calibration(folder, camera_intrinsic=[])


def intrinsics_of_text(folder: Path) -> tuple[str, str]:
    return "singular intrinsics", calibration(folder, camera_intrinsic=[["a", 0, 0], [0, 1, 0], [0, 0, 1]])


def zero_rotation(folder: Path) -> tuple[str, str]:
    return "impossible pose", calibration(folder, rotation=[0, 0, 0, 0])


def dangling_sensor(folder: Path) -> tuple[str, str]:
    return "dangling token", calibration(folder, sensor_token="nobody")


def first_record(folder: Path, table: str, number: int = 0, **fields: Any) -> str:
    def change(records: Records) -> dict[str, Any]:
        records[number].update(fields)
        return records[number]

    return alter(folder, table, change)


def first_image(folder: Path) -> int:
    """The position of the first image in `sample_data`, and of its pose in `ego_pose`."""
    records = read_records(folder, "sample_data")
    return records.index(first(records, "samples/CAM"))


def null_translation(folder: Path) -> tuple[str, str]:
    at = first_image(folder)
    return "impossible pose", first_record(folder, "ego_pose", at, translation=[None, 0, 0])


def missing_pose(folder: Path) -> tuple[str, str]:
    at = first_image(folder)
    alter(folder, "ego_pose", lambda records: records.pop(at))
    return "dangling token", read_records(folder, "sample_data")[at]["token"]


def missing_calibration(folder: Path) -> tuple[str, str]:
    at = first_image(folder)
    return "dangling token", first_record(folder, "sample_data", at, calibrated_sensor_token="nobody")


def missing_instance(folder: Path) -> tuple[str, str]:
    return "box left out", first_record(folder, "sample_annotation", instance_token="nobody")


def missing_category(folder: Path) -> tuple[str, str]:
    return "box left out", first_record(folder, "instance", category_token="nobody")


def missing_visibility(folder: Path) -> tuple[str, str]:
    return "dangling token", first_record(folder, "sample_annotation", visibility_token="9")


def missing_scene(folder: Path) -> tuple[str, str]:
    return "dangling token", first_record(folder, "sample", scene_token="nobody")


def flat_box(folder: Path) -> tuple[str, str]:
    return "box left out", first_record(folder, "sample_annotation", size=[0.0, 4, 2])


def same_camera_twice(folder: Path) -> tuple[str, str]:
    def change(records: Records) -> dict[str, Any]:
        image = first(records, "samples/CAM")
        records.append({**image, "token": "twin", "timestamp": image["timestamp"] + 1})
        return records[-1]

    return "duplicate record", alter(folder, "sample_data", change)


def same_key_frame_twice(folder: Path) -> tuple[str, str]:
    def change(records: Records) -> dict[str, Any]:
        records.append(dict(records[0]))
        return records[0]

    return "duplicate record", alter(folder, "sample", change)


def far_away(folder: Path) -> tuple[str, str]:
    return "box left out", first_record(folder, "sample_annotation", translation=[1e300, 0, 0])


def token_of_a_path(folder: Path) -> tuple[str, str]:
    """A sample whose token, in all tables, leads out of the folder of a file named after it."""
    token, path = read_records(folder, "sample")[0]["token"], "../../escaped"
    for table in (folder / "v1.0-mini").glob("*.json"):
        table.write_text(table.read_text().replace(f'"{token}"', f'"{path}"'))
    return "impossible token", path


COSTING_A_CAMERA: list[Damage] = [
    cut_jpeg,
    empty_jpeg,
    text_instead_of_jpeg,
    other_size,
    absent_image,
    folder_instead_of_image,
    parent_folder,
    absolute_name,
    link_out,
    empty_name,
    singular_intrinsics,
    no_intrinsics,
    intrinsics_of_text,
    zero_rotation,
    null_translation,
    missing_pose,
]
"""Damage after which at least one key frame is used without one of its cameras."""

BREAKING: list[Damage] = [
    *COSTING_A_CAMERA,
    token_of_a_path,
    absent_lidar,
    odd_lidar,
    empty_lidar,
    lidar_of_nan,
    dangling_sensor,
    missing_calibration,
    missing_scene,
    same_camera_twice,
    same_key_frame_twice,
]
"""Damage that costs at least one key frame, or one of its cameras."""

COSTING_A_BOX: list[Damage] = [missing_instance, missing_category, flat_box, far_away]
"""Damage that costs one box alone."""
