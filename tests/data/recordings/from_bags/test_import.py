"""`occfeat import`: what is in a bag is in the data set, and what is wrong with it is said."""

import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml

from occfeat.cli import main
from occfeat.data.dataset import KeyFrames
from occfeat.data.index.index import Index
from occfeat.data.recordings.from_bags.plan import plan_recordings, unique_names
from occfeat.data.recordings.rig_file import RigFile, build_rig_file, read_rig_file
from occfeat.data.recordings.write import write_recordings
from occfeat.data.sample.contents import Contents
from occfeat.errors import DatasetError, SettingsError
from occfeat.geometry.grid import build_grid
from occfeat.pretraining.objectives.evidence import occupancy_target
from occfeat.settings.sections import DataConfig, GridConfig, ViewConfig
from tests.support.recordings.bag_writer import FORMS, Form, write_scene_as_bag
from tests.support.recordings.drives import FRONT, LIDAR, MOUNTINGS, START_US, on_time, write_drive

GRID = build_grid(GridConfig())


def open_index(root: Path) -> Index:
    return Index.open(DataConfig(root=root))


def require_same(original: Index, imported: Index, names: Mapping[str, str], sweeps: int = 1) -> None:
    """Refuse key frames whose targets, images or calibration differ."""
    assert len(imported) == len(names) > 0
    by_time = {original.key_frame(row).timestamp_us: row for row in range(len(original))}
    view = ViewConfig(image_size=(64, 112), sweeps=sweeps, cameras=original.channels)
    contents = Contents(points=True)
    before = KeyFrames(original, view, contents, grid=GRID)
    after = KeyFrames(imported, view, contents, grid=GRID)
    for row in range(len(imported)):
        expected_row = by_time[imported.key_frame(row).timestamp_us]
        expected, found = before.sample(expected_row), after.sample(row)
        assert expected.points is not None
        assert found.points is not None
        targets = [occupancy_target(one.points, 1, GRID) for one in (expected, found)]
        assert torch.equal(*targets)
        assert torch.equal(expected.images, found.images)
        torch.testing.assert_close(found.cameras.intrinsics, expected.cameras.intrinsics)
        torch.testing.assert_close(
            found.cameras.ego_from_camera, expected.cameras.ego_from_camera, atol=1e-5, rtol=0
        )
        files = [
            {one.channel: (index.root / one.path).read_bytes() for one in index.key_frame(number).cameras}
            for index, number in ((original, expected_row), (imported, row))
        ]
        assert files[0] == files[1]


def import_bag(out: Path, bag: Path, *flags: str) -> int:
    return main(["import", str(bag), "--out", str(out), "--workers", "1", *flags])


@pytest.mark.data
@pytest.mark.slow
def test_real_scene__through_a_bag__has_the_same_targets_and_calibration(tmp_path: Path) -> None:
    root = os.environ.get("OCCFEAT_TEST_SCENE")
    if not root:
        pytest.skip("set OCCFEAT_TEST_SCENE to a folder with a whole nuScenes scene")
    bag = write_scene_as_bag(Path(root), tmp_path / "bag")
    rig = tmp_path / "rig.yaml"
    assert main(["import", str(bag), "--inspect", "--rig", str(rig)]) == 0
    assert import_bag(tmp_path / "drive", bag, "--rig", str(rig)) == 0
    original = open_index(Path(root))
    tokens = {original.token(row): "" for row in range(len(original))}
    require_same(original, open_index(tmp_path / "drive"), tokens)


@pytest.mark.parametrize("form", FORMS)
def test_street_world__through_each_kind_of_bag__has_the_same_targets(
    form: Form, street_world: Path, tmp_path: Path
) -> None:
    original = open_index(street_world)
    scene = str(original.scene_of(np.array([0]))[0])
    bag = write_scene_as_bag(street_world, tmp_path / "bag", form, scene=scene)
    assert import_bag(tmp_path / "drive", bag) == 0
    tokens = {
        original.token(row): "" for row in range(len(original)) if original.key_frame(row).scene == scene
    }
    require_same(original, open_index(tmp_path / "drive"), tokens, sweeps=2)


def test_inspection__drafts_a_rig_file_that_works(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    bag, rig = write_drive(tmp_path / "bag"), tmp_path / "rig.yaml"
    assert main(["import", str(bag), "--inspect", "--rig", str(rig)]) == 0
    said = capsys.readouterr().out
    assert "/front/image_raw/compressed" in said
    assert "64 x 36" in said
    assert said.splitlines()[-1] == str(rig)
    draft = yaml.safe_load(rig.read_text())
    assert set(draft["cameras"]) == {"CAM_FRONT", "CAM_BACK"}
    assert set(draft["lidars"]) == {"LIDAR_TOP"}
    assert draft["poses"] == {"source": "tf", "global_frame": "map"}
    assert main(["import", str(bag), "--inspect", "--rig", str(rig)]) == 2  # nothing is overwritten
    assert "exists already" in capsys.readouterr().err
    assert import_bag(tmp_path / "drive", bag, "--rig", str(rig)) == 0
    said = capsys.readouterr().out
    assert "6 key frames in 1 scene\n" in said
    assert "No problems found." in said
    assert said.splitlines()[-1] == str(tmp_path / "drive" / "import")
    names = {path.name for path in (tmp_path / "drive" / "import").glob("*.*")}
    assert names == {"CAM_FRONT.png", "CAM_BACK.png", "summary.txt", "rig.yaml", "made_from.json"}
    used = yaml.safe_load((tmp_path / "drive" / "import" / "rig.yaml").read_text())
    assert RigFile.model_validate(used).cameras["CAM_FRONT"].topic == "/front/image_raw/compressed"


def cut_off(bag: Path) -> None:
    """Take the last part of a bag away."""
    file = bag if bag.is_file() else max(bag.iterdir(), key=lambda one: one.stat().st_size)
    file.write_bytes(file.read_bytes()[: file.stat().st_size * 6 // 10])


@pytest.mark.parametrize(("form", "seconds"), [("mcap", 24.0), ("ros1", 24.0), ("sqlite3", 3.0)])
def test_bag_that_is_cut_off__is_imported_up_to_there(
    form: Form, seconds: float, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    bag = write_drive(tmp_path / "bag", form, seconds=seconds)  # long enough for several chunks
    assert import_bag(tmp_path / "whole", bag) == 0
    assert "not complete" not in capsys.readouterr().out
    cut_off(bag)
    assert import_bag(tmp_path / "drive", bag) == 0
    said = capsys.readouterr().out
    assert re.search(f"Warning: {re.escape(str(bag))}.* is not complete", said)
    assert "messages are there" in said
    whole, index = open_index(tmp_path / "whole"), open_index(tmp_path / "drive")
    assert len(whole) == 2 * seconds
    assert 0.5 * len(whole) <= len(index) <= 0.7 * len(whole)
    require_same(whole, index, {index.token(row): "" for row in range(len(index))})


@pytest.mark.parametrize(
    ("form", "seconds", "message"),
    [("mcap", 3.0, "cannot be read: File end magic is invalid"), ("sqlite3", 24.0, "is not complete")],
)
def test_bag_of_which_too_little_is_left__is_refused_with_its_damage(
    form: Form, seconds: float, message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    bag = write_drive(tmp_path / "bag", form, seconds=seconds)
    cut_off(bag)
    assert import_bag(tmp_path / "drive", bag) == 2
    assert f"{bag} {message}" in capsys.readouterr().err
    assert not (tmp_path / "drive").exists()


def rig_of(**changes: Any) -> RigFile:
    """The rig of `write_drive`, with changes."""
    content: dict[str, Any] = {
        "base_frame": "base_link",
        "cameras": {
            f"CAM_{name.upper()}": {"topic": f"/{name}/image_raw/compressed", "info": f"/{name}/camera_info"}
            for name in ("front", "back")
        },
        "lidars": {"LIDAR_TOP": {"topic": "/lidar/points"}},
        "poses": {"source": "tf", "global_frame": "map"},
    }
    return build_rig_file({**content, **changes}, Path("rig.yaml"))


def write(out: Path, bag: Path, rig: RigFile) -> tuple[Index, dict[str, int]]:
    """Import a bag; return its index and what was left out."""
    results = write_recordings(out, plan_recordings([[bag]], rig), made_from=b"", workers=1)
    left_out: dict[str, int] = {}
    for result in results:
        for reason, count in result.left_out.items():
            left_out[reason] = left_out.get(reason, 0) + count
    return open_index(out), left_out


def test_poses__are_those_of_each_sensors_own_time(tmp_path: Path) -> None:
    bag = write_drive(
        tmp_path / "bag",
        when=lambda sensor, number, time_us: on_time(sensor, number, time_us + 30_000 * (sensor == "front")),
    )
    index, left_out = write(tmp_path / "drive", bag, rig_of())
    front = next(one for one in index.key_frame(1).cameras if one.channel == "CAM_FRONT")
    moved_m = front.lidar_ego_from_camera[0, 3] - front.camera_ego_from_camera[0, 3]
    assert moved_m == pytest.approx(0.3, abs=1e-6)  # 30 ms at 10 m/s
    assert index.key_frame(1).global_from_ego[0, 3] == pytest.approx(5.0, abs=1e-6)
    assert left_out == {}


def test_odometry__gives_the_same_data_set_as_transforms(tmp_path: Path) -> None:
    by_frames, _ = write(tmp_path / "a", write_drive(tmp_path / "bag-a"), rig_of())
    bag = write_drive(tmp_path / "bag-b", poses="odometry")
    by_topic, _ = write(tmp_path / "b", bag, rig_of(poses={"source": "topic", "topic": "/odom"}))
    for row in range(len(by_frames)):
        expected, found = by_frames.key_frame(row), by_topic.key_frame(row)
        torch.testing.assert_close(found.global_from_ego, expected.global_from_ego)


def test_pose_file__gives_the_same_data_set_as_transforms(tmp_path: Path) -> None:
    lines = [f"{(START_US + 20_000 * i) / 1e6:.6f} {0.2 * i} 0 0 0 0 0 1" for i in range(151)]
    (tmp_path / "poses.txt").write_text("\n".join(lines))
    bag = write_drive(tmp_path / "bag", poses="none")
    poses = {"source": "tum", "file": str(tmp_path / "poses.txt")}
    index, _ = write(tmp_path / "drive", bag, rig_of(poses=poses))
    assert index.key_frame(2).global_from_ego[0, 3] == pytest.approx(10.0, abs=1e-6)


def test_bag_without_poses__is_imported_and_what_needs_them_is_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    bag = write_drive(tmp_path / "bag", poses="none")
    assert import_bag(tmp_path / "drive", bag) == 0
    said = capsys.readouterr().out
    assert "Warning: Poses are not known" in said
    assert "The ego poses of 6 key frames are not known" in said
    index = open_index(tmp_path / "drive")
    KeyFrames(index, ViewConfig(), Contents(points=True), grid=GRID).sample(1)
    with pytest.raises(SettingsError, match="The ego poses of 6 key frames are not known: their"):
        KeyFrames(index, ViewConfig(sweeps=3), Contents(points=True), grid=GRID)
    with pytest.raises(SettingsError, match="The ego poses of 1 key frames are not known"):
        index.sweeps_within(1, 0.5)


def test_camera_without_camera_info__is_named_with_what_to_do(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    bag = write_drive(tmp_path / "bag", infos=False)
    assert import_bag(tmp_path / "drive", bag) == 2
    said = capsys.readouterr().err
    assert "CAM_BACK, CAM_FRONT: no CameraInfo can be used. State `intrinsics`" in said
    assert "--inspect" in said
    assert not (tmp_path / "drive").exists()
    intrinsics = [[40, 0, 32], [0, 40, 18], [0, 0, 1]]
    entry = {"topic": "/front/image_raw/compressed", "intrinsics": intrinsics}
    index, _ = write(tmp_path / "drive", bag, rig_of(cameras={"CAM_FRONT": entry}))
    np.testing.assert_allclose(index.key_frame(0).cameras[0].intrinsics, intrinsics)


def test_frames_that_do_not_connect__are_named_with_both_trees(tmp_path: Path) -> None:
    bag = write_drive(tmp_path / "bag", mountings={"front": FRONT, "lidar": LIDAR})
    with pytest.raises(DatasetError, match=r"(?s)CAM_BACK: .*back.*`ego_from_camera`, of CAM_BACK"):
        plan_recordings([[bag]], rig_of())
    stated = {"topic": "/back/image_raw/compressed", "info": "/back/camera_info"}
    stated["ego_from_camera"] = np.eye(4).tolist()
    rig = rig_of(cameras={"CAM_BACK": stated})
    index, _ = write(tmp_path / "drive", bag, rig)
    np.testing.assert_allclose(index.key_frame(0).cameras[0].camera_ego_from_camera, np.eye(4), atol=1e-9)


def test_clocks_that_differ__are_named_by_how_much_and_can_be_corrected(tmp_path: Path) -> None:
    bag = write_drive(
        tmp_path / "bag",
        when=lambda sensor, number, time_us: (time_us + 18_000_000 * (sensor != "lidar"), time_us + 5000),
    )
    with pytest.raises(DatasetError, match=r"CAM_FRONT is ahead of LIDAR_TOP by 18\.000 s"):
        plan_recordings([[bag]], rig_of())
    rig = rig_of().model_dump()
    for entry in rig["cameras"].values():
        entry["clock_ahead_ms"] = 18_000
    index, left_out = write(tmp_path / "drive", bag, build_rig_file(rig, Path("rig.yaml")))
    assert [len(index.key_frame(row).cameras) for row in range(len(index))] == [2] * 6
    assert left_out == {}


def test_zero_stamps__are_counted_or_replaced_by_those_of_the_recorder(tmp_path: Path) -> None:
    bag = write_drive(
        tmp_path / "bag",
        when=lambda sensor, number, time_us: (0 if sensor == "back" else time_us, time_us + 5000),
    )
    index, left_out = write(tmp_path / "a", bag, rig_of())
    assert left_out["CAM_BACK: messages without a stamp"] == 30
    rig = rig_of().model_dump()
    rig["cameras"]["CAM_BACK"]["use_log_time"] = True
    index, left_out = write(tmp_path / "b", bag, build_rig_file(rig, Path("rig.yaml")))
    assert {one.channel for one in index.key_frame(2).cameras} == {"CAM_FRONT", "CAM_BACK"}
    assert left_out == {}


def test_topic_that_stops__leaves_a_camera_out_or_the_key_frame(tmp_path: Path) -> None:
    bag = write_drive(
        tmp_path / "bag",
        when=lambda sensor, number, time_us: (
            None if sensor == "back" and number > 11 else on_time(sensor, number, time_us)
        ),
    )
    index, left_out = write(tmp_path / "keep", bag, rig_of())
    assert [len(index.key_frame(row).cameras) for row in range(len(index))] == [2, 2, 2, 1, 1, 1]
    assert left_out["CAM_BACK: key frames without an image in time"] == 3
    index, left_out = write(tmp_path / "drop", bag, rig_of(key_frames={"missing_cameras": "drop"}))
    assert len(index) == 3
    assert left_out["key frames in which a camera is missing"] == 3


def test_images_of_changing_size__are_left_out_with_a_count(tmp_path: Path) -> None:
    bag = write_drive(tmp_path / "bag", size_of=lambda number: (36, 64) if number < 12 else (18, 32))
    index, left_out = write(tmp_path / "drive", bag, rig_of())
    assert left_out == {"CAM_FRONT: images of 32 x 18 pixels, which it is not calibrated for (64 x 36)": 3}
    assert [len(index.key_frame(row).cameras) for row in range(len(index))] == [2, 2, 2, 1, 1, 1]


def test_points_of_the_car__are_dropped_and_counted(tmp_path: Path) -> None:
    bag = write_drive(tmp_path / "bag", near_points=50)
    whole, _ = write(tmp_path / "whole", bag, rig_of())
    for number, car in enumerate(
        ({"radius_m": 1.5}, {"lower_m": [1.5, -0.5, 1], "upper_m": [2.5, 0.5, 1.5]})
    ):
        index, left_out = write(tmp_path / f"{number}", bag, rig_of(car=car, key_frames={"sweeps": False}))
        assert left_out["LIDAR_TOP: points of the car itself"] >= 6 * 50
        sizes = [
            len(one.source.read_sweep(one.root / one.key_frame(0).sweeps[0].path).points)
            for one in (whole, index)
        ]
        assert sizes[0] - sizes[1] in (50, 51)


def test_camera_that_looks_into_the_ground__is_warned_of(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    down = (1.7, 0.0, 1.5, 0.0, 1.0, 0.0, 0.0)
    bag = write_drive(tmp_path / "bag", mountings={**MOUNTINGS, "front": down}, near_points=50)
    assert import_bag(tmp_path / "drive", bag) == 0
    said = capsys.readouterr().out
    assert "CAM_FRONT looks 90 degrees down to the ground" in said
    assert "CAM_BACK looks" not in said
    assert "% of the LiDAR points are nearer than 2 m" in said


def test_long_recordings__are_cut_into_scenes_and_split_by_time(tmp_path: Path) -> None:
    bag = write_drive(tmp_path / "bag", seconds=5)
    rig = rig_of(key_frames={"scene_s": 1}, splits={"shares": {"train": 0.6, "val": 0.4}})
    whole, _ = write(tmp_path / "whole", bag, rig_of())
    index, left_out = write(tmp_path / "cut", bag, rig)
    times = [[one.key_frame(row).timestamp_us for row in range(len(one))] for one in (whole, index)]
    assert times[0] == times[1]
    assert [name for name in index.metadata.scenes if name] == [f"bag-{part:04d}" for part in range(5)]
    assert (len(index.rows("train")), len(index.rows("val"))) == (6, 4)
    assert left_out == {}
    sweeps = len(list((tmp_path / "cut").glob("sweeps/LIDAR_TOP/*")))
    assert sweeps == len(list((tmp_path / "whole").glob("sweeps/LIDAR_TOP/*"))) == 40


def test_several_recordings__are_split_as_wholes_or_joined(tmp_path: Path) -> None:
    bags = [write_drive(tmp_path / name / "drive", seconds=1) for name in "ab"]
    splits = {"by": "recording", "shares": {"train": 0.5, "val": 0.5}}
    recordings = plan_recordings([[bag] for bag in bags], rig_of(splits=splits))
    assert [(one.name, one.split) for one in recordings] == [("drive-1", "train"), ("drive-2", "val")]
    (joined,) = plan_recordings([bags], rig_of())
    assert joined.count == 2


def test_topics_and_calibrations_that_do_not_fit__are_refused(tmp_path: Path) -> None:
    bag = write_drive(tmp_path / "bag", size_of=lambda number: (18, 32))
    with pytest.raises(DatasetError, match=r"CAM_FRONT: images have 32 x 18 pixels, .* is of 64 x 36"):
        plan_recordings([[bag]], rig_of())
    with pytest.raises(DatasetError, match=r"no such topics:\n  LIDAR_TOP: /nowhere"):
        plan_recordings([[bag]], rig_of(lidars={"LIDAR_TOP": {"topic": "/nowhere"}}))
    cameras = {"CAM_BACK": {"topic": "/back/image_raw/compressed", "info": "/back/camera_info"}}
    rig = rig_of(cameras=cameras, key_frames={"skip_start_s": 2, "skip_end_s": 2})
    with pytest.raises(DatasetError, match=r"Nothing is left of the 3\.0 s of bag"):
        plan_recordings([[bag]], rig)


def test_topics_of_another_kind__are_refused_by_name(tmp_path: Path) -> None:
    bag = write_drive(tmp_path / "bag", seconds=1)
    with pytest.raises(DatasetError, match=r"LIDAR_TOP: /front/camera_info holds .*CameraInfo, not clouds"):
        plan_recordings([[bag]], rig_of(lidars={"LIDAR_TOP": {"topic": "/front/camera_info"}}))
    clouds = {"CAM_FRONT": {"topic": "/lidar/points", "info": "/front/camera_info"}}
    with pytest.raises(DatasetError, match=r"CAM_FRONT: /lidar/points holds .*PointCloud2, not images"):
        plan_recordings([[bag]], rig_of(cameras=clouds, lidars={}))
    with pytest.raises(DatasetError) as caught:
        plan_recordings([[bag]], rig_of(lidars={"LIDAR_TOP": {"topic": "lidar/points"}}))
    assert "Did you mean /lidar/points?" in caught.value.hint


YEARS_US = 5 * 31_536_000_000_000


@pytest.mark.parametrize("ahead_us", [-YEARS_US, YEARS_US, 1000 - START_US])
def test_poses_of_another_clock__are_refused_with_both_times(tmp_path: Path, ahead_us: int) -> None:
    bag = write_drive(
        tmp_path / "bag", when=lambda sensor, number, time_us: (time_us + ahead_us, time_us + 5000)
    )
    begin = f"{(START_US + ahead_us) / 1e6:.3f} s"
    with pytest.raises(DatasetError, match=r"from 1700000000\.000 s to 1700000003\.000 s") as caught:
        plan_recordings([[bag]], rig_of())
    assert f"LIDAR_TOP begins at {begin}" in caught.value.message
    rig = rig_of().model_dump()
    for entry in (*rig["cameras"].values(), *rig["lidars"].values()):
        entry["use_log_time"] = True
    index, left_out = write(tmp_path / "drive", bag, build_rig_file(rig, Path("rig.yaml")))
    assert (len(index), left_out) == (6, {})


def test_poses_that_cannot_be_used__are_refused_with_their_reason(tmp_path: Path) -> None:
    bag = write_drive(tmp_path / "bag", seconds=1)
    lines = [f"{START_US / 1e6 + 0.1 * number:.6f} {number} 0 0 0 0 0 0" for number in range(10)]
    (tmp_path / "poses.txt").write_text("\n".join(lines))
    poses = {"source": "tum", "file": str(tmp_path / "poses.txt")}
    with pytest.raises(DatasetError, match=r"no poses that can be used.*\n  10 poses .* have no rotation"):
        plan_recordings([[bag]], rig_of(poses=poses))


def test_transforms_that_are_left_out__are_warned_of(tmp_path: Path) -> None:
    bag = write_drive(tmp_path / "bag", seconds=1, mountings={**MOUNTINGS, "roof": (0.0,) * 7})
    (result,) = write_recordings(
        tmp_path / "drive", plan_recordings([[bag]], rig_of()), made_from=b"", workers=1
    )
    assert result.damage == (
        "Transforms: The static transform base_link <- roof is not finite or has no rotation.",
    )


def test_clouds_in_millimetres__are_refused(tmp_path: Path) -> None:
    bag = write_drive(tmp_path / "bag", seconds=1, units_per_m=1000)
    with pytest.raises(DatasetError, match=r"LIDAR_TOP: half of the points are farther than \d\d,\d\d\d m"):
        plan_recordings([[bag]], rig_of())


@pytest.mark.parametrize(
    ("camera", "said"),
    [
        ({"intrinsics": [[40, 0, 32, 0], [0, 40, 18, 0], [0, 0, 1, 0]]}, "got 3 rows of 4, 4, 4"),
        ({"intrinsics": [40, 0, 32, 0, 40, 18, 0, 0, 1]}, "expected 3 rows of 3 numbers, got 9 rows of 1"),
        ({"info": "/i", "ego_from_camera": [[1, 0, 0, 0]] * 3}, "expected 4 rows of 4 numbers, got 3 rows"),
        (
            {"intrinsics": np.eye(3).tolist(), "lens": {"model": "brown_conrady", "coefficients": [0.1] * 3}},
            "Expected 4 or 5 or 8 coefficients of a lens brown_conrady, got 3",
        ),
    ],
)
def test_matrix_and_lens_of_a_rig_file__are_named_by_camera(camera: dict[str, Any], said: str) -> None:
    with pytest.raises(SettingsError) as caught:
        rig_of(cameras={"CAM_FRONT": {"topic": "/front", **camera}})
    assert caught.value.first[0].startswith("cameras.CAM_FRONT.")
    assert said in caught.value.first[0]


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "got nothing"),
        (b"- a", "got a list"),
        (b"\xff\xfea\0:\0", "is not text in UTF-8"),
    ],
)
def test_rig_file_that_is_none__is_refused(tmp_path: Path, content: bytes, said: str) -> None:
    (tmp_path / "rig.yaml").write_bytes(content)
    with pytest.raises(SettingsError, match=said):
        read_rig_file(tmp_path / "rig.yaml")


def test_names_of_recordings__are_plain_and_unique() -> None:
    paths = [Path("a/drive 1.bag"), Path("b/drive 1.bag"), Path("c.mcap"), Path("..")]
    assert unique_names(paths)[:3] == ["drive-1-1", "drive-1-2", "c"]


def test_flags_that_contradict_each_other__are_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["import", str(tmp_path)]) == 2
    assert "either inspect or out" in capsys.readouterr().err
    assert main(["import", str(tmp_path / "none.bag"), "--out", str(tmp_path / "drive")]) == 2
    assert "does not exist" in capsys.readouterr().err
