"""What `NuScenesWriter` refuses, and that it says why before anything is written."""

from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path

import numpy as np
import pytest

from occfeat.data.formats.nuscenes.writer import folder as writer_folder
from occfeat.data.formats.nuscenes.writer.folder import NuScenesWriter
from occfeat.data.formats.nuscenes.writer.scene import rows_folder
from occfeat.data.formats.nuscenes.writer.values import (
    CalibratedCamera,
    CalibratedRig,
    CameraImage,
    EgoPose,
    RecordingLog,
    require_pinhole,
    require_rigid,
)
from occfeat.errors import DatasetError, OccFeatError, RunError
from tests.data.formats.nuscenes.writer.test_writer import (
    INTRINSICS,
    LIDAR,
    PIXELS,
    POINTS,
    RIG,
    START_US,
    VERSION,
    add_key_frame,
    begun,
    box,
    camera,
    pose,
    turned,
)


def refusals_of_values() -> dict[str, tuple[Callable[[Path], object], str]]:
    """Return which values are refused, and what the message says."""
    bent = np.eye(4)
    bent[0, 0] = 1.1
    mirror = np.diag([1.0, -1, 1, 1])
    return {
        "scaled": (lambda _: EgoPose(START_US, bent), "is not a rigid transform"),
        "mirrored": (lambda _: EgoPose(START_US, mirror), "is not a rigid transform"),
        "not finite": (lambda _: EgoPose(START_US, turned(0, np.nan)), "is not finite"),
        "off the planet": (lambda _: EgoPose(START_US, turned(0, 1e12)), "is not finite"),
        "wrong shape": (lambda _: require_rigid("pose", np.eye(3)), r"expected .* \(4, 4\), got \(3, 3\)"),
        "intrinsics shape": (lambda _: require_pinhole("matrix", np.eye(4)), r"\(3, 3\), got \(4, 4\)"),
        "singular": (lambda _: CalibratedCamera("A", np.eye(4), INTRINSICS * 0), "not those of a pinhole"),
        "NaN intrinsics": (lambda _: CalibratedCamera("A", np.eye(4), INTRINSICS * np.nan), "not finite"),
        "time of a negative": (lambda _: EgoPose(-1, np.eye(4)), "whole microseconds"),
        "channel": (lambda _: camera("../A"), "is not a valid file name"),
        "channel of a LiDAR": (
            lambda _: CalibratedRig("car", (), {"a/b": np.eye(4)}),
            "is not a valid file name",
        ),
        "LiDAR off its place": (
            lambda _: CalibratedRig("car", (), {"A": bent}),
            "ego_from_lidar of A is not a rigid transform",
        ),
        "LiDAR as a camera": (
            lambda _: CalibratedRig("car", (camera(LIDAR),), RIG.lidars),
            "two sensors of the same channel",
        ),
        "no sensor": (lambda _: CalibratedRig("car", ()), "has no sensor"),
        "twice": (lambda _: CalibratedRig("car", (camera("A"), camera("A"))), "two sensors of the same"),
        "flat box": (lambda _: box(size_m=(4.0, 0, 1)), "expected a size above 0 m"),
        "box at NaN": (lambda _: box(center_global_m=(np.nan, 0, 0)), "expected a finite centre"),
        "box without a size": (lambda _: box(size_m=()), "expected a finite centre"),
        "box of nothing": (lambda _: box(category=""), "expected a category"),
        "visibility": (lambda _: box(visibility=5), "from 0 to 4, got 5"),
        "negative points": (lambda _: box(lidar_points=-1), "at least 0 LiDAR points, got -1"),
    }


def refusals_of_the_writer() -> dict[str, tuple[Callable[[Path], object], str]]:
    """Return what the writer refuses of sound values, and what the message says."""
    return {
        "map outside": (lambda _: RecordingLog("town", "../town.png"), "leaves the data folder"),
        "location": (lambda _: RecordingLog("a/b", "town.png"), "is not a valid file name"),
        "version": (lambda root: NuScenesWriter(root, "../v"), "is not a valid file name"),
        "first scene": (
            lambda root: NuScenesWriter(root, VERSION).add_scene("..", RIG, split="a"),
            "valid file name",
        ),
        "split": (lambda root: begun(root, split="all"), "split cannot be named"),
        "no scene": (lambda root: NuScenesWriter(root, VERSION).close(), "has no scene"),
        "no scene yet": (
            lambda root: add_key_frame(NuScenesWriter(root, VERSION), 0),
            "a scene to write to, got none",
        ),
        "empty scene": (lambda root: begun(root).close(), "has no key frame"),
        "nothing seen": (
            lambda root: begun(root).add_key_frame(pose(0), {}),
            "an image or LiDAR points, got neither",
        ),
        "unknown camera": (
            lambda root: begun(root).add_key_frame(pose(0), {"CAM_LEFT": CameraImage(PIXELS)}),
            "images of unknown cameras",
        ),
        "missing image": (
            lambda root: begun(root).add_key_frame(pose(0), {"CAM_FRONT": CameraImage(root / "none.jpg")}),
            "not a readable JPEG or PNG",
        ),
        "points at NaN": (
            lambda root: begun(root).add_sweep(LIDAR, pose(0), POINTS * np.nan),
            "finite numbers",
        ),
        "flat points": (lambda root: begun(root).add_sweep(LIDAR, pose(0), POINTS[:, :2]), "3 to 5 finite"),
        "unknown LiDAR": (
            lambda root: begun(root).add_sweep("LIDAR_LEFT", pose(0), POINTS),
            "rig 'car' has no LiDAR LIDAR_LEFT",
        ),
        "two boxes of one": (
            lambda root: add_key_frame(begun(root), 0, boxes=(box(), box())),
            "two boxes of one",
        ),
        "two maps of one": (lambda root: begun(root).add_scene("one", RIG, split="val"), "no key frame"),
    }


REFUSALS = refusals_of_values() | refusals_of_the_writer()


@pytest.mark.parametrize("case", REFUSALS)
def test_nonsense__is_refused(case: str, tmp_path: Path) -> None:
    attempt, message = REFUSALS[case]
    with pytest.raises(OccFeatError, match=message):
        attempt(tmp_path)
    assert not list(tmp_path.glob("s*/*"))


def test_time__must_go_on(tmp_path: Path) -> None:
    writer = begun(tmp_path)
    add_key_frame(writer, 1)
    with pytest.raises(DatasetError, match="Key frame 1 of scene 'one': expected a time after"):
        add_key_frame(writer, 1)
    with pytest.raises(DatasetError, match="LIDAR_TOP: expected a time after"):
        writer.add_sweep(LIDAR, pose(450), POINTS)
    with pytest.raises(DatasetError, match="CAM_FRONT: expected a time after"):
        writer.add_key_frame(pose(1000), {"CAM_FRONT": CameraImage(PIXELS, pose(460))})


def test_instance__keeps_its_category(tmp_path: Path) -> None:
    writer = begun(tmp_path)
    add_key_frame(writer, 0)
    with pytest.raises(DatasetError, match=r"vehicle\.car of instance 'a' as before, got vehicle\.bus"):
        add_key_frame(writer, 1, boxes=(box(category="vehicle.bus"),))


def test_rig__without_a_lidar_takes_no_points(tmp_path: Path) -> None:
    writer = NuScenesWriter(tmp_path, VERSION)
    writer.add_scene("one", CalibratedRig("car", RIG.cameras), split="train")
    with pytest.raises(DatasetError, match="rig 'car' has no LiDAR LIDAR_TOP"):
        add_key_frame(writer, 0)


def test_scenes__of_one_name_are_refused(tmp_path: Path) -> None:
    writer = begun(tmp_path)
    add_key_frame(writer, 0)
    with pytest.raises(DatasetError, match="two scenes named 'one'"):
        writer.add_scene("one", RIG, split="train")


def test_rigs__of_one_name_must_be_equal(tmp_path: Path) -> None:
    writer = begun(tmp_path)
    add_key_frame(writer, 0)
    other = CalibratedRig("car", (camera("CAM_FRONT", 0.1),), RIG.lidars)
    writer.add_scene("two", other, split="train")
    add_key_frame(writer, 0)
    with pytest.raises(DatasetError, match="rig that differs from an earlier one of the same name"):
        writer.close()


def test_maps__must_be_there_and_have_names_of_their_own(tmp_path: Path) -> None:
    writer = begun(tmp_path, log=RecordingLog("town", "a/town.png"))
    add_key_frame(writer, 0)
    with pytest.raises(DatasetError, match=r"Base map a/town\.png of scene 'one' is missing"):
        writer.close()
    writer.add_scene("two", RIG, split="train", log=RecordingLog("town", "b/town.png"))
    add_key_frame(writer, 0)
    for folder in ("a", "b"):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "town.png").write_bytes(b"")
    with pytest.raises(DatasetError, match="Two base maps differ only by their folder"):
        writer.close()


def test_folder__that_is_completed_meanwhile_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lock = writer_folder.lock_folder

    def lock_too_late(path: Path) -> AbstractContextManager[None]:
        (tmp_path / VERSION).mkdir()
        return lock(path)

    monkeypatch.setattr(writer_folder, "lock_folder", lock_too_late)
    with pytest.raises(RunError, match="already exists"):
        NuScenesWriter(tmp_path, VERSION)
    with lock(rows_folder(tmp_path, VERSION)):
        pass  # nothing holds it


def test_folder__that_is_complete_or_in_use_is_refused(tmp_path: Path) -> None:
    writer = begun(tmp_path)
    with pytest.raises(RunError, match="Another process is writing"):
        NuScenesWriter(tmp_path, VERSION)
    add_key_frame(writer, 0)
    writer.close()
    writer.close()
    with pytest.raises(RunError, match="already exists"):
        NuScenesWriter(tmp_path, VERSION)
    with pytest.raises(RunError, match="is closed"):
        writer.add_scene("two", RIG, split="train")
