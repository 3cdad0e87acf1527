"""Segments: what is read of them, and what is refused."""

import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from occfeat.data.recordings.waymo.recording import find_recordings
from occfeat.errors import DatasetError
from tests.support.recordings.waymo_ranges import reference_points
from tests.support.recordings.waymo_segment import (
    IMAGE,
    MOUNTED,
    POSES,
    SEGMENT,
    build_segment,
    pixel_poses,
    ranges,
)
from tests.support.recordings.waymo_tables import LASER, TIME


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return build_segment(tmp_path / "waymo" / "training")


def change(folder: Path, tag: str, edit: Callable[[pa.Table], pa.Table]) -> None:
    """Change the table of a component."""
    path = folder / tag / f"{SEGMENT}.parquet"
    pq.write_table(edit(pq.read_table(path)), path)


def read_all(folder: Path, **options: object) -> list:
    return [list(one.moments()) for one in find_recordings(folder, **options)]  # type: ignore[arg-type]


def test_every_lidar__is_in_its_own_frame(folder: Path) -> None:
    (moments,) = read_all(folder)
    assert [moment.pose.time_us for moment in moments] == [100_000, 600_000]
    for moment in moments:
        t, pose = moment.pose.time_us, moment.pose.global_from_ego
        top = [
            reference_points(ranges(t + i, (2, 6)), MOUNTED, [-0.2, 0.0], pixel_poses(t), pose)
            for i in (0, 1)
        ]
        assert np.abs(moment.sweeps["LIDAR_TOP"].points - np.concatenate(top)).max() < 1e-4
        front = reference_points(ranges(t + 2, (3, 5)), np.eye(4), [-0.15, -0.05, 0.05])
        assert np.abs(moment.sweeps["LIDAR_FRONT"].points - front).max() < 1e-4


def test_cameras__look_along_x_with_their_lens_and_time(folder: Path) -> None:
    (recording,) = find_recordings(folder.parent)
    (camera,) = recording.rig.cameras
    assert recording.split == "train"
    assert (camera.ego_from_camera @ (0, 0, 5, 1)).tolist() == [5, 0, 0, 1]  # forward
    assert (camera.ego_from_camera @ (1, 0, 0, 1)).tolist() == [0, -1, 0, 1]  # right
    assert camera.lens.model == "brown_conrady"
    assert camera.lens.coefficients == (0.05, 0.06, 0.07, 0.08, 0.09)
    first = next(iter(recording.moments())).images["CAM_FRONT"]
    assert first.image == IMAGE
    assert first.pose is not None
    assert first.pose.time_us == 110_000


def test_boxes__turn_with_the_vehicle(folder: Path) -> None:
    (moments,) = read_all(folder)
    boxes = {box.instance: box for box in moments[1].boxes}
    assert [boxes[f"thing {kind}"].category for kind in range(6)] == [
        "unknown",
        "vehicle.unspecified",
        "human.pedestrian.unspecified",
        "static_object.sign",
        "vehicle.bicycle",
        "unknown",
    ]
    box = boxes["thing 1"]
    assert box.yaw_global_rad == pytest.approx(0.6 + 0.5)
    assert np.allclose(box.center_global_m, (POSES[600_000] @ (1, 1, 1, 1))[:3])
    assert box.lidar_points == 7


@pytest.mark.parametrize(
    ("key_hz", "sweeps", "expected"), [(10.0, False, 8), (5.0, False, 4), (2.0, True, 8)]
)
def test_key_frames_and_sweeps__are_as_asked(
    key_hz: float, sweeps: bool, expected: int, folder: Path
) -> None:
    (moments,) = read_all(folder, key_hz=key_hz, sweeps=sweeps)
    assert len(moments) == expected
    assert sum(moment.is_key for moment in moments) == find_recordings(folder, key_hz=key_hz)[0].count
    assert all(not moment.images and not moment.boxes for moment in moments if not moment.is_key)


def test_old_names_and_types__are_read_alike(folder: Path) -> None:
    (before,) = read_all(folder)
    names = {1: "TOP", 2: "FRONT"}

    def as_text(table: pa.Table) -> pa.Table:
        keys = [names[one] for one in table[LASER].to_pylist()]
        return table.set_column(table.column_names.index(LASER), LASER, pa.array(keys))

    def as_single(table: pa.Table) -> pa.Table:
        name = "[VehiclePoseComponent].world_from_vehicle.transform"
        single = table[name].cast(pa.list_(pa.float32(), 16))
        return table.set_column(table.column_names.index(name), name, single)

    for tag in ("lidar", "lidar_pose", "lidar_calibration"):
        change(folder, tag, as_text)
    change(folder, "vehicle_pose", as_single)
    (after,) = read_all(folder)
    for one, other in zip(before, after, strict=True):
        for channel, sweep in one.sweeps.items():
            assert np.abs(sweep.points - other.sweeps[channel].points).max() < 1e-4


def test_missing_components__are_named(folder: Path) -> None:
    shutil.rmtree(folder / "lidar_pose")
    shutil.rmtree(folder / "camera_calibration")
    with pytest.raises(
        DatasetError, match=r"1 of 1 Waymo segments lack.*\n  seg: camera_calibration, lidar_pose"
    ):
        find_recordings(folder)


def test_segment_without_lidar_and_boxes__has_cameras_alone(folder: Path) -> None:
    for tag in ("lidar", "lidar_pose", "lidar_calibration", "lidar_box"):
        shutil.rmtree(folder / tag)
    (recording,) = find_recordings(folder)
    moments = list(recording.moments())
    assert not recording.rig.lidars
    assert all(moment.images and not moment.sweeps and not moment.boxes for moment in moments)
    assert set(recording.left_out) == {
        "LiDAR, as the component lidar is missing",
        "boxes, as the component lidar_box is missing",
    }


def test_other_folders__are_none_of_this_format(tmp_path: Path) -> None:
    (tmp_path / "camera_image").mkdir()
    assert find_recordings(tmp_path) == []
    assert find_recordings(tmp_path / "absent") == []


def shifted(table: pa.Table) -> pa.Table:
    """Return the table with other times."""
    return table.set_column(
        table.column_names.index(TIME), TIME, pa.array([t + 1 for t in table[TIME].to_pylist()])
    )


def with_shape(*shape: int) -> Callable[[pa.Table], pa.Table]:
    """Return an edit that gives all range images another shape."""

    def edit(table: pa.Table) -> pa.Table:
        name = next(name for name in table.column_names if name.endswith("return1.shape"))
        shapes = pa.array([list(shape)] * len(table), pa.list_(pa.int32(), 3))
        return table.set_column(table.column_names.index(name), name, shapes)

    return edit


@pytest.mark.parametrize(
    ("tag", "edit", "says"),
    [
        ("camera_image", shifted, "has 8 frames that vehicle_pose does not have"),
        (
            "lidar_pose",
            lambda table: table.slice(1),
            "lacks poses for the range image of LIDAR_TOP at 100000",
        ),
        ("lidar_pose", with_shape(3, 4, 6), "lacks poses for the range image"),
        ("lidar", with_shape(2, 7, 4), r"has 48 values, but the shape \[2, 7, 4\]"),
        ("lidar", with_shape(1 << 20, 1 << 20, 4), "up to 2,000,000 pixels"),
        ("lidar", with_shape(-2, -6, 4), "got the shape"),
        ("lidar", with_shape(4, 6, 2), "range image of 4 channels"),
        ("lidar", lambda table: pa.concat_tables([table.slice(0, 1), table]), "two rows of one sensor"),
        (
            "lidar_calibration",
            lambda table: table.slice(0, 1),
            "expected the LiDAR TOP once, got LIDAR_FRONT",
        ),
        ("lidar_calibration", lambda table: table.slice(1), "range images of LIDAR_FRONT, which has no"),
        ("vehicle_pose", lambda table: pa.concat_tables([table, table]), "a frame has two poses"),
        ("vehicle_pose", lambda table: table.slice(0, 0), "has no rows"),
    ],
)
def test_components_that_do_not_fit__are_named(
    tag: str, edit: Callable[[pa.Table], pa.Table], says: str, folder: Path
) -> None:
    change(folder, tag, edit)
    with pytest.raises(DatasetError, match=says):
        read_all(folder)
