"""Calibration that cannot be is named by its sensor before training; where nothing is wrong, nothing is."""

import itertools
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from occfeat.commands.sets import require_plausible_sets
from occfeat.data.check.calibration.look import look_at_calibration
from occfeat.data.check.calibration.sweeps import find_ground
from occfeat.data.check.check import check, require_plausible
from occfeat.data.index.index import Index
from occfeat.data.index.sets import DataSets
from occfeat.errors import DatasetError
from occfeat.geometry.frames import from_rotation, rotation_from_quaternion
from occfeat.settings.sections import DataConfig, ViewConfig
from tests.support.nuscenes_folder import CHANNELS, build_nuscenes_folder, edit_table, read_records

Record = dict[str, Any]
Change = Callable[[Record], object]
PAIRS = list(itertools.combinations(CHANNELS, 2))


@pytest.fixture(scope="module")
def sound(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build_nuscenes_folder(tmp_path_factory.mktemp("sound"), sweeps=0, image_size=(45, 80))


@pytest.fixture
def folder(sound: Path, tmp_path: Path) -> Path:
    """Tables of its own beside the files of the sound folder."""
    (tmp_path / "v1.0-mini").mkdir()
    for table in (sound / "v1.0-mini").glob("*.json"):
        (tmp_path / "v1.0-mini" / table.name).write_bytes(table.read_bytes())
    for name in ("samples", "maps"):
        (tmp_path / name).mkdir()
        for file in (path for path in (sound / name).rglob("*") if path.is_file()):
            target = tmp_path / file.relative_to(sound)
            target.parent.mkdir(parents=True, exist_ok=True)
            target.hardlink_to(file)
    return tmp_path


def found(root: Path, *, lidars: tuple[str, ...] | None = ()) -> list[tuple[str, str]]:
    index = Index.open(DataConfig(root=root))
    return list(look_at_calibration(index, index.rows("all"), index.default_channels, lidars=lidars))


def named(root: Path) -> set[str]:
    """Return the sensors that are named, or the kinds where no sensor is."""
    return {said.split()[0] if kind == "implausible calibration" else kind for kind, said in found(root)}


def spoil(root: Path, channels: tuple[str, ...], change: Change) -> None:
    """Change the calibrations of some sensors."""
    sensors = {one["token"]: one["channel"] for one in read_records(root, "sensor")}

    def edit(records: list[Record]) -> None:
        for one in records:
            if sensors[one["sensor_token"]] in channels:
                change(one)

    edit_table(root, "calibrated_sensor", edit)


def inverse(record: Record) -> None:
    w, x, y, z = record["rotation"]
    turn = rotation_from_quaternion(torch.tensor(record["rotation"]).double())
    record["translation"] = (-turn.T @ torch.tensor(record["translation"]).double()).tolist()
    record["rotation"] = [w, -x, -y, -z]


def in_millimetres(record: Record) -> None:
    record["translation"] = [1000 * one for one in record["translation"]]


def last_first(record: Record) -> None:
    """Write the quaternion as x, y, z, w."""
    record["rotation"] = [*record["rotation"][1:], record["rotation"][0]]


def normalised(record: Record) -> None:
    fx, fy = record["camera_intrinsic"][0][0], record["camera_intrinsic"][1][1]
    record["camera_intrinsic"] = [[fx / 80, 0, 0.5], [0, fy / 45, 0.5], [0, 0, 1]]


def turned(axis: int, angle_deg: float) -> Change:
    """Return a change that turns a camera about an axis of its own."""

    def change(record: Record) -> None:
        half = np.radians(angle_deg) / 2
        w, x, y, z = record["rotation"]
        a, b, c = (float(np.sin(half)) if axis == each else 0.0 for each in range(3))
        cos = float(np.cos(half))
        record["rotation"] = [
            w * cos - x * a - y * b - z * c,
            w * a + x * cos + y * c - z * b,
            w * b - x * c + y * cos + z * a,
            w * c + x * b - y * a + z * cos,
        ]

    return change


def on_its_side(record: Record) -> None:
    """Turn the camera a quarter about its axis."""
    half = 0.5**0.5
    w, x, y, z = record["rotation"]
    record["rotation"] = [half * (w - z), half * (x + y), half * (y - x), half * (z + w)]


def upwards(record: Record) -> None:
    """Turn the camera by 90 degrees about its x axis, to the sky."""
    half = 0.5**0.5
    w, x, y, z = record["rotation"]
    record["rotation"] = [half * (w - x), half * (w + x), half * (y + z), half * (z - y)]


def unmoved(record: Record) -> None:
    record["translation"], record["rotation"] = [0, 0, 0], [1, 0, 0, 0]


def upside_down_rows(record: Record) -> None:
    record["camera_intrinsic"][1][1] *= -1


def squeezed(record: Record) -> None:
    record["camera_intrinsic"][1][1] *= 4


def of_half_the_size(record: Record) -> None:
    record["camera_intrinsic"] = [[value / 2 for value in row] for row in record["camera_intrinsic"][:2]]
    record["camera_intrinsic"].append([0, 0, 1])


def from_the_middle(record: Record) -> None:
    record["camera_intrinsic"][0][2] = record["camera_intrinsic"][1][2] = 0


INTRINSICS = [upside_down_rows, squeezed, of_half_the_size, from_the_middle]


def test_look__names_nothing_where_nothing_is_wrong(sound: Path) -> None:
    assert found(sound) == []
    index = Index.open(DataConfig(root=sound))
    require_plausible(index, index.rows("all"), view=ViewConfig(), needs_lidar=True)
    assert check(DataConfig(root=sound)).problems == ()


@pytest.mark.parametrize("channel", CHANNELS)
@pytest.mark.parametrize("change", [inverse, in_millimetres, normalised, on_its_side, upwards, *INTRINSICS])
def test_look__names_a_camera_that_cannot_be(folder: Path, channel: str, change: Change) -> None:
    spoil(folder, (channel,), change)
    assert named(folder) == {channel}


@pytest.mark.parametrize("channel", CHANNELS)
@pytest.mark.parametrize("angle_deg", [-20.0, 20.0])
def test_look__names_a_camera_that_is_rolled(folder: Path, channel: str, angle_deg: float) -> None:
    spoil(folder, (channel,), turned(2, angle_deg))
    ((kind, said),) = found(folder)
    assert kind == "implausible calibration"
    assert said.startswith(f"{channel} is rolled by 20 degrees")


@pytest.mark.parametrize("channel", CHANNELS)
@pytest.mark.parametrize("angle_deg", [-30.0, 30.0])
def test_look__names_a_camera_that_is_turned_aside(folder: Path, channel: str, angle_deg: float) -> None:
    spoil(folder, (channel,), turned(1, angle_deg))
    said = [said for kind, said in found(folder) if kind == "implausible calibration"]
    assert any(channel in one for one in said)


def test_look__names_a_camera_with_the_calibration_of_another(folder: Path) -> None:
    given = {one["token"]: one for one in read_records(folder, "sensor")}
    tables = {given[one["sensor_token"]]["channel"]: one for one in read_records(folder, "calibrated_sensor")}
    front = tables["CAM_FRONT"]
    spoil(
        folder,
        ("CAM_FRONT_LEFT",),
        lambda one: one.update(front | {"token": one["token"], "sensor_token": one["sensor_token"]}),
    )
    assert ("implausible calibration", "CAM_FRONT_LEFT has the calibration of CAM_FRONT") in found(folder)


def test_look__names_quaternions_that_end_with_w(folder: Path) -> None:
    """Those of a camera that looks straight ahead say the same in either order."""
    spoil(folder, CHANNELS, last_first)
    assert set(CHANNELS) - {"CAM_FRONT"} - named(folder) == set()


@pytest.mark.parametrize("pair", PAIRS, ids="+".join)
def test_look__names_cameras_whose_calibrations_are_swapped(folder: Path, pair: tuple[str, str]) -> None:
    sensors = {one["channel"]: one["token"] for one in read_records(folder, "sensor")}
    swapped = {sensors[pair[0]]: sensors[pair[1]], sensors[pair[1]]: sensors[pair[0]]}

    def edit(records: list[Record]) -> None:
        for one in records:
            one["sensor_token"] = swapped.get(one["sensor_token"], one["sensor_token"])
        tokens = {one["token"]: one["sensor_token"] for one in records}
        images = read_records(folder, "sample_data")
        by_sensor = {sensor: token for token, sensor in tokens.items()}
        before = {by_sensor[b]: by_sensor[a] for a, b in swapped.items()}
        for image in images:
            image["calibrated_sensor_token"] = before.get(
                image["calibrated_sensor_token"], image["calibrated_sensor_token"]
            )
        edit_table(folder, "sample_data", lambda records: records.__setitem__(slice(None), images))

    edit_table(folder, "calibrated_sensor", edit)
    assert named(folder) & set(pair)
    assert named(folder) - set(pair) == set()


@pytest.mark.parametrize("change", [inverse, in_millimetres, unmoved])
def test_look__names_a_lidar_that_cannot_be(folder: Path, change: Change) -> None:
    spoil(folder, ("LIDAR_TOP",), change)
    assert named(folder) == {"LIDAR_TOP"}
    assert found(folder, lidars=None) == []  # nothing of it counts where it is not read


def test_look__names_a_lidar_on_its_side(folder: Path) -> None:
    spoil(folder, ("LIDAR_TOP",), lambda record: record.update(rotation=[0.5**0.5, 0.5**0.5, 0, 0]))
    ((kind, said),) = found(folder)
    assert kind == "implausible calibration"
    assert said.startswith("LIDAR_TOP sees the ground tilted by")


def test_look__names_a_lidar_that_is_elsewhere_or_sees_nothing(folder: Path) -> None:
    edit_table(folder, "sample_annotation", lambda records: records.clear())  # nothing is said of boxes
    spoil(folder, ("LIDAR_TOP",), lambda record: record.update(translation=[94, 0, 184]))
    assert found(folder) == [
        (
            "implausible calibration",
            "LIDAR_TOP is 206.6 m from the origin of the car; positions are in metres",
        )
    ]
    spoil(folder, ("LIDAR_TOP",), lambda record: record.update(translation=[0.94, 0, 1.84]))
    for file in (folder / "samples" / "LIDAR_TOP").iterdir():
        content = np.zeros((200, 5), dtype="<f4")
        file.unlink()  # a link to the file of the sound folder
        content.tofile(file)
    ((_, said),) = found(folder)
    assert said == "LIDAR_TOP has no returns besides those of the car itself"


@pytest.mark.parametrize("unit", [1e-6, 1e-3, 1e3])
def test_look__names_times_in_other_units(folder: Path, unit: float) -> None:
    for table in ("sample", "sample_data"):
        edit_table(
            folder, table, lambda records: [one.update(timestamp=one["timestamp"] * unit) for one in records]
        )
    said = [said for kind, said in found(folder, lidars=None) if kind == "implausible times"]
    assert len(said) == 2
    assert all("key frames are" in one and "s apart" in one for one in said)


def test_look__names_boxes_whose_length_is_written_first(tmp_path: Path) -> None:
    folder = build_nuscenes_folder(tmp_path, sweeps=0, key_frames=4, boxes=12, image_size=(45, 80))
    assert found(folder) == []
    edit_table(
        folder,
        "sample_annotation",
        lambda records: [one.update(size=[one["size"][i] for i in (1, 0, 2)]) for one in records],
    )
    for lidars in ((), None):
        ((kind, said),) = found(folder, lidars=lidars)
        assert kind == "implausible boxes"
        assert "of the cars are wider than long; sizes are width, length, height" in said


def test_look__names_boxes_that_are_turned(tmp_path: Path) -> None:
    folder = build_nuscenes_folder(tmp_path, sweeps=0, key_frames=4, boxes=12, image_size=(45, 80))
    half = 0.5**0.5

    def quarter(one: Record) -> None:
        w, x, y, z = one["rotation"]
        one["rotation"] = [half * (w - z), half * (x + y), half * (y - x), half * (z + w)]

    def in_degrees(one: Record) -> None:
        angle = 2 * np.degrees(np.arctan2(one["rotation"][3], one["rotation"][0])) + 1.0
        one["rotation"] = [float(np.cos(angle / 2)), 0, 0, float(np.sin(angle / 2))]

    original = read_records(folder, "sample_annotation")
    for change, by in ((quarter, "by 90 degrees"), (in_degrees, "about z")):
        changed = [dict(one) for one in original]
        for one in changed:
            change(one)
        edit_table(
            folder, "sample_annotation", lambda records, new=changed: records.__setitem__(slice(None), new)
        )
        ((kind, said),) = found(folder)
        assert kind == "implausible boxes"
        assert f"of the long boxes hold more LiDAR returns if they are turned {by}" in said


@pytest.mark.parametrize(
    ("by", "said"), [(-0.5, "50 % of their height above"), (0.5, "50 % of their height below")]
)
def test_look__names_boxes_whose_position_is_not_their_centre(tmp_path: Path, by: float, said: str) -> None:
    folder = build_nuscenes_folder(tmp_path, sweeps=0, boxes=12, image_size=(45, 80), returns=20_000)
    assert found(folder) == []

    def move(one: Record) -> None:
        one["translation"][2] += by * one["size"][2]

    edit_table(folder, "sample_annotation", lambda records: [move(one) for one in records])
    ((kind, text),) = found(folder)
    assert kind == "implausible boxes"
    assert said in text


def test_look__names_boxes_in_the_frame_of_the_car(folder: Path) -> None:
    edit_table(
        folder, "sample_annotation", lambda records: [_to_car(one, (1000.0, 500.0)) for one in records]
    )
    assert named(folder) == {"implausible boxes"}
    assert [kind for kind, _ in found(folder, lidars=None)] == ["implausible boxes"]


def test_look__names_boxes_without_the_returns_they_count(folder: Path) -> None:
    """Near the origin of the map only the LiDAR tells."""
    edit_table(folder, "sample_annotation", lambda records: [_to_car(one, (-30.0, 25.0)) for one in records])
    assert named(folder) == {"implausible boxes"}
    assert found(folder, lidars=None) == []


def _to_car(record: Record, by_m: tuple[float, float]) -> None:
    x, y, z = record["translation"]
    record["translation"] = [x - by_m[0], y - by_m[1], z]


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda one: one.update(rotation=[0.5**0.5, 0.5**0.5, 0, 0]), "tilted by 90 degrees"),
        (lambda one: one.update(translation=[1000 * x for x in one["translation"]]), "m/s"),
    ],
)
def test_look__names_poses_that_cannot_be(folder: Path, change: Change, said: str) -> None:
    edit_table(folder, "ego_pose", lambda records: [change(one) for one in records])
    faults = found(folder)
    assert [kind for kind, _ in faults] == ["implausible poses"] * 2
    assert all(said in text and text.startswith("scene-") for _, text in faults)


def test_look__names_a_car_that_only_drives_backwards(tmp_path: Path) -> None:
    root = build_nuscenes_folder(tmp_path, key_frames=7, channels=("CAM_FRONT",), sweeps=0, boxes=0)

    def turned(one: Record) -> None:
        w, x, y, z = one["rotation"]
        one["rotation"] = [-z, y, -x, w]  # half a turn about z

    edit_table(root, "ego_pose", lambda records: [turned(one) for one in records])
    assert "implausible poses" in named(root)


def test_look__names_a_car_that_drives_aside_of_its_heading(tmp_path: Path) -> None:
    """A frame whose z points down has headings of the other sign."""
    root = build_nuscenes_folder(tmp_path, key_frames=14, channels=("CAM_FRONT",), sweeps=0, boxes=0)
    assert "implausible poses" not in named(root)

    def mirrored(one: Record) -> None:
        w, x, y, z = one["rotation"]
        one["rotation"] = [w, -x, -y, -z]

    edit_table(root, "ego_pose", lambda records: [mirrored(one) for one in records])
    said = [said for kind, said in found(root) if kind == "implausible poses"]
    assert len(said) == 2
    assert all("degrees aside of its heading" in one for one in said)


def test_training__refuses_or_names_what_cannot_be(folder: Path, caplog: pytest.LogCaptureFixture) -> None:
    spoil(folder, ("CAM_BACK",), in_millimetres)
    sets = DataSets.open((DataConfig(root=folder),))
    rows = sets.rows(["all"])
    given: dict[str, Any] = {"view": ViewConfig(), "needs_lidar": True}
    with pytest.raises(DatasetError, match="cannot be what it says") as caught:
        require_plausible_sets(sets, rows, only_warn=False, **given)
    assert caught.value.first[0].startswith("CAM_BACK is ")
    assert "--engine.implausible warn" in caught.value.hint
    require_plausible_sets(sets, rows, only_warn=True, **given)
    assert "CAM_BACK is " in caplog.text
    require_plausible_sets(
        sets, rows, view=ViewConfig(cameras=("CAM_FRONT",)), needs_lidar=True, only_warn=False
    )
    (problem,) = check(DataConfig(root=folder)).problems
    assert (problem.kind, problem.count) == ("implausible calibration", 1)


@pytest.mark.parametrize("tilt_deg", [0.0, 4.0, 40.0])
def test_find_ground__finds_a_plane_among_other_returns(tilt_deg: float) -> None:
    random = np.random.default_rng(1)
    plane = np.column_stack((random.uniform(-18, 18, (3000, 2)), random.normal(0, 0.02, 3000)))
    angle = np.radians(tilt_deg) / 2
    quaternion = torch.tensor([np.cos(angle), np.sin(angle), 0.0, 0.0])
    turn = from_rotation(rotation_from_quaternion(quaternion), torch.zeros(3).double()).numpy()[:3, :3]
    others = random.uniform((-18, -18, 0), (18, 18, 4), (2000, 3))
    found = find_ground(np.concatenate((plane, others)) @ turn.T + (0, 0, -0.3))
    assert found is not None
    assert found.share == pytest.approx(0.62, abs=0.08)
    assert found.tilt_deg == pytest.approx(tilt_deg, abs=1.0)
    assert found.height_m == pytest.approx(-0.3, abs=0.1)


@pytest.mark.data
def test_look__is_content_with_real_key_frames(nuscenes_root: Path) -> None:
    assert found(nuscenes_root) == []
