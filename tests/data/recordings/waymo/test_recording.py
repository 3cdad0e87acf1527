"""A street world as Waymo Open Dataset v2, imported again: the same drive."""

import pickle
from pathlib import Path

import numpy as np
import pytest

from occfeat.data.index.index import Index
from occfeat.data.recordings.waymo.recording import find_recordings
from occfeat.data.recordings.write import write_recordings
from occfeat.settings.sections import DataConfig
from tests.support.recordings.waymo_writer import Written, write_waymo
from tests.support.same_street import Door, compare

CLASSES = ("vehicle", "pedestrian")


@pytest.fixture(scope="module")
def waymo(street_world: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Written]:
    out = tmp_path_factory.mktemp("waymo")
    return out, write_waymo(street_world, out, sweeps=2)


@pytest.fixture(scope="module")
def imported(waymo: tuple[Path, Written], tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("imported")
    recordings = find_recordings(waymo[0], sweeps=True)
    write_recordings(out, recordings, made_from=b"waymo", workers=1)
    return out


def test_writer__loses_next_to_nothing(waymo: tuple[Path, Written]) -> None:
    written = waymo[1]
    assert written.points > 50_000
    assert written.lost_points == 0
    assert set(written.cameras) == {"FRONT", "FRONT_LEFT", "FRONT_RIGHT", "SIDE_LEFT", "SIDE_RIGHT"}


@pytest.mark.parametrize("sweeps", [1, 2])
def test_targets_and_labels__are_those_of_the_street_world(
    sweeps: int, street_world: Path, imported: Path
) -> None:
    found = compare(Door(street_world), Door(imported), None, CLASSES, sweeps)
    assert found.key_frames == 4
    assert found.occupied.cells > 10_000
    assert sum(count.cells for count in found.labels.values()) > 1000
    assert all(count.differ == 0 for count in found.labels.values())
    # Here 10 of 16 001 voxels: rays straight ahead run along a border of cells, and the format rounds angles.
    assert found.occupied.share < 0.001


def test_targets_far_from_the_origin__differ_by_rounding_alone(street_world: Path, tmp_path: Path) -> None:
    write_waymo(street_world, tmp_path / "waymo", keep_origin=True)
    write_recordings(
        tmp_path / "imported", find_recordings(tmp_path / "waymo"), made_from=b"waymo", workers=1
    )
    found = compare(Door(street_world), Door(tmp_path / "imported"), None, CLASSES)
    assert all(count.differ == 0 for count in found.labels.values())
    # The format rounds poses of pixels to float32: here 16 of 16 002 occupied voxels.
    assert 0 < found.occupied.share < 0.002


def test_key_frames__are_those_of_the_street_world(street_world: Path, imported: Path, waymo) -> None:
    before, after = (Index.open(DataConfig(root=root)) for root in (street_world, imported))
    assert after.splits() == before.splits()
    row_of = {after.key_frame(row).timestamp_us: row for row in range(len(after))}
    for row in range(len(before)):
        one = before.key_frame(row)
        other = after.key_frame(row_of[one.timestamp_us])
        assert np.allclose(one.global_from_ego[:3, :3], other.global_from_ego[:3, :3], atol=1e-9)
        cameras = {record.channel: record for record in other.cameras}
        for name, channel in waymo[1].cameras.items():
            image = next(record for record in one.cameras if record.channel == channel)
            copy = cameras[f"CAM_{name}"]
            assert (before.root / image.path).read_bytes() == (after.root / copy.path).read_bytes()
            assert np.allclose(image.lidar_ego_from_camera, copy.lidar_ego_from_camera, atol=1e-6)
            assert np.allclose(image.intrinsics, copy.intrinsics)
            assert image.lens == copy.lens
        kept = one.boxes.in_categories(("vehicle.", "human.pedestrian"))
        assert len(other.boxes) == kept.sum() > 0
        assert other.boxes.lidar_points.tolist() == one.boxes.lidar_points[kept].tolist()
        assert np.allclose(other.boxes.center_ego, one.boxes.center_ego[kept], atol=1e-6)


def test_moments__can_be_read_twice_and_elsewhere(waymo: tuple[Path, Written]) -> None:
    recording = find_recordings(waymo[0])[0]
    assert recording.description == "Day, sunny, location_other"
    first, again = list(recording.moments()), list(pickle.loads(pickle.dumps(recording)).moments())
    assert len(first) == recording.count == 2
    for one, other in zip(first, again, strict=True):
        assert one.pose.time_us == other.pose.time_us
        assert np.array_equal(one.sweeps["LIDAR_TOP"].points, other.sweeps["LIDAR_TOP"].points)
