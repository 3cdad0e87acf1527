"""A street world as a drive of KITTI raw, imported again: the same drive; and what is wrong with a drive."""

import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from occfeat.data.index.index import Index
from occfeat.data.recordings.kitti.drive import find_recordings
from occfeat.data.recordings.write import write_recordings
from occfeat.errors import DatasetError
from occfeat.settings.sections import DataConfig
from tests.support.recordings.kitti_writer import BASELINE_M, DAY, DRIVE, write_kitti
from tests.support.same_street import Door, compare

SCENE = "street-val-0000"


@pytest.fixture(scope="module")
def written(street_world: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("kitti")
    write_kitti(street_world, out, SCENE)
    return out


@pytest.fixture
def kitti(written: Path, tmp_path: Path) -> Path:
    return shutil.copytree(written, tmp_path / "kitti")


@pytest.fixture(scope="module")
def imported(written: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("imported")
    write_recordings(out, find_recordings(written), made_from=b"kitti", workers=1)
    return out


def test_targets_and_labels__are_those_of_the_street_world(street_world: Path, imported: Path) -> None:
    found = compare(Door(imported), Door(street_world, scene=SCENE), None)
    assert found.key_frames == 2
    assert found.occupied.cells > 5000
    # Rays straight ahead run along a border of cells, and positions are degrees of latitude and longitude.
    assert found.occupied.share < 0.001


def test_rig_and_poses__are_those_of_the_street_world(street_world: Path, imported: Path) -> None:
    before, after = (Index.open(DataConfig(root=root)) for root in (street_world, imported))
    first = after.key_frame(0).global_from_ego
    start = before.key_frame(0).global_from_ego
    for row in range(len(after)):
        one, other = before.key_frame(row), after.key_frame(row)
        assert one.timestamp_us == other.timestamp_us
        assert np.allclose(
            start.inverse() @ one.global_from_ego, first.inverse() @ other.global_from_ego, atol=1e-5
        )
        left, right = (
            next(c for c in other.cameras if c.channel == name) for name in ("CAM_LEFT", "CAM_RIGHT")
        )
        front = one.cameras[0]
        assert np.allclose(front.lidar_ego_from_camera, left.lidar_ego_from_camera, atol=1e-5)
        assert np.allclose(front.intrinsics, left.intrinsics)
        between = left.camera_ego_from_camera.inverse() @ right.camera_ego_from_camera
        assert np.allclose(between[:3, 3], (BASELINE_M, 0, 0), atol=1e-6)
        assert np.allclose(between[:3, :3], np.eye(3), atol=1e-6)
        cars = one.boxes.in_categories(("vehicle.car",))
        assert len(other.boxes.in_categories(("vehicle.car",)).nonzero()) == cars.sum()


@pytest.mark.parametrize("folder", [".", DAY, f"{DAY}/{DRIVE}"])
def test_drives__are_found_in_every_folder(folder: str, written: Path) -> None:
    (recording,) = find_recordings(written / folder)
    assert (recording.name, recording.rig.name, recording.count) == (DRIVE, DAY, 2)


def test_frames_without_a_lidar_file__are_left_out(kitti: Path) -> None:
    drive = kitti / DAY / DRIVE
    (drive / "velodyne_points/data/0000000000.bin").unlink()
    (drive / "image_03/data/0000000001.png").unlink()
    (drive / "tracklet_labels.xml").unlink()
    (moment,) = find_recordings(kitti)[0].moments()
    assert set(moment.images) == {"CAM_LEFT"}
    assert moment.boxes == []


def test_other_folders__are_none_of_this_format(tmp_path: Path) -> None:
    assert find_recordings(tmp_path) == []
    (tmp_path / "file").write_text("")
    assert find_recordings(tmp_path / "file") == []


def replace_text(name: str, old: str, new: str) -> Callable[[Path], object]:
    """Return an edit of a file of the drive or the day."""

    def edit(drive: Path) -> None:
        path = (drive.parent if name.startswith("calib") else drive) / name
        path.write_text(path.read_text().replace(old, new, 1))

    return edit


@pytest.mark.parametrize(
    ("edit", "says"),
    [
        (
            lambda drive: (drive.parent / "calib_cam_to_cam.txt").unlink(),
            "calib_cam_to_cam.txt cannot be read",
        ),
        (replace_text("calib_cam_to_cam.txt", "P_rect_03", "P_rect_09"), "has no field P_rect_03"),
        (replace_text("calib_velo_to_cam.txt", "R: ", "R: x"), "calib_velo_to_cam.txt is damaged"),
        (
            replace_text("calib_imu_to_velo.txt", "R: ", "R: 9 "),
            "imu_to_velo.txt is not a rigid",
        ),
        (
            replace_text("calib_cam_to_cam.txt", "R_rect_00: ", "R_rect_00: 9 "),
            "R_rect_00 is not a rigid transform",
        ),
        (replace_text("calib_imu_to_velo.txt", "T: ", "T: nan "), "expected 3 finite numbers"),
        (replace_text("oxts/timestamps.txt", "20", "today 20"), "timestamps.txt is damaged"),
        (replace_text("oxts/data/0000000000.txt", "49", "499"), "impossible positions"),
        (
            lambda drive: (drive / "velodyne_points/timestamps.txt").write_text(""),
            "has no .bin file with a time",
        ),
        (lambda drive: (drive / "velodyne_points/data/0000000000.bin").write_bytes(b"12345"), "is damaged"),
        (replace_text("tracklet_labels.xml", "</tracklets>", ""), "tracklet_labels.xml is damaged"),
        (replace_text("tracklet_labels.xml", "<tx>", "<tx>far"), "tracklet_labels.xml is damaged"),
    ],
)
def test_damaged_files__are_named(edit: Callable[[Path], object], says: str, kitti: Path) -> None:
    edit(kitti / DAY / DRIVE)
    with pytest.raises(DatasetError, match=says):
        list(find_recordings(kitti)[0].moments())
