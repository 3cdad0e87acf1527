import json
import math
from dataclasses import asdict
from pathlib import Path

import numpy as np
import pytest

from occfeat.errors import SettingsError
from occfeat.geometry.lens import Lens
from streetworld.custom_rigs import load_rig
from streetworld.rigs import RIGS, Camera


@pytest.mark.parametrize("name", RIGS)
def test_rigs_have_four_to_eight_cameras_that_look_all_around(name: str) -> None:
    cameras = RIGS[name].cameras
    assert 4 <= len(cameras) <= 8
    assert len({camera.channel for camera in cameras}) == len(cameras)
    seen = np.zeros(360, dtype=bool)
    for camera in cameras:
        half = int(camera.view_deg / 2)
        seen[np.arange(int(camera.yaw_deg) - half, int(camera.yaw_deg) + half) % 360] = True
    assert seen.mean() > 0.9


def test_a_camera_looks_where_it_is_turned() -> None:
    left_and_down = Camera("CAM", (1.0, 2.0, 3.0), yaw_deg=90.0, view_deg=60.0, pitch_deg=30.0)
    pose = left_and_down.ego_from_camera
    np.testing.assert_allclose(pose[:3, 2], (0, np.sqrt(0.75), -0.5), atol=1e-9)
    np.testing.assert_allclose(pose[:3, 0], (1, 0, 0), atol=1e-9)
    np.testing.assert_allclose(pose[:3, 3], (1, 2, 3))
    np.testing.assert_allclose(pose[:3, :3] @ pose[:3, :3].T, np.eye(3), atol=1e-12)


def test_intrinsics_span_the_view_and_scale_with_the_image() -> None:
    camera = Camera("CAM", (0.0, 0.0, 1.0), 0.0, view_deg=90.0)
    small, large = (camera.intrinsics(size) for size in ((100, 200), (200, 400)))
    assert small[0, 0] == pytest.approx(100)
    np.testing.assert_allclose(large[:2], 2 * small[:2])


def test_mounting_a_rig_moves_it_a_little() -> None:
    rig = RIGS["nuscenes"]
    mounted = rig.calibrated(np.random.default_rng(0))
    for before, after in zip(rig.cameras, mounted.cameras, strict=True):
        assert before.ego_from_camera != pytest.approx(after.ego_from_camera)
        np.testing.assert_allclose(before.ego_from_camera, after.ego_from_camera, atol=0.08)


def test_a_rig_from_a_file(tmp_path: Path) -> None:
    path = tmp_path / "mine.json"
    camera = {"channel": "CAM_A", "position_m": [1, 0, 1.4], "yaw_deg": 10, "view_deg": 80}
    path.write_text(json.dumps({"cameras": [camera], "lidar_m": [0, 0, 2]}), encoding="utf-8-sig")
    rig = load_rig(str(path))
    assert rig.name == "mine"
    assert rig.cameras[0].yaw_deg == 10
    assert rig.lidar_m == (0, 0, 2)


def test_a_camera_from_a_file__has_its_lens(tmp_path: Path) -> None:
    path = tmp_path / "mine.json"
    lens = {"model": "f_theta", "coefficients": [1.0, 0.01]}
    path.write_text(json.dumps({"cameras": [{**CAMERA, "view_deg": 190, "lens": lens}]}))
    (camera,) = load_rig(str(path)).cameras
    assert camera.lens == Lens("f_theta", (1.0, 0.01))
    half_rad = np.radians(95)
    assert camera.intrinsics((100, 200))[0, 0] * (half_rad + 0.01 * half_rad**2) == pytest.approx(100)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ('{"cameras": []}', r"rig\.json has no cameras\.\nHint: Give it at least one"),
        ("{}", r"not usable: cameras: Field required"),
        ("{", "not usable"),
        (
            '{"cameras": [{"channel": "../A", "position_m": [0,0,0], "yaw_deg": 0, "view_deg": 60}]}',
            "channel",
        ),
        ('{"cameras": [{"channel": "A", "position_m": [0,0,0], "yaw_deg": 0, "view_deg": 190}]}', "view_deg"),
        (
            '{"cameras": [{"channel": "A", "position_m": [0,0,1], "yaw_deg": 0, "view_deg": 60},'
            '{"channel": "A", "position_m": [0,0,1], "yaw_deg": 9, "view_deg": 60}]}',
            "same channel",
        ),
    ],
)
def test_rig_files_that_are_none(tmp_path: Path, content: str, message: str) -> None:
    path = tmp_path / "rig.json"
    path.write_text(content)
    with pytest.raises(SettingsError, match=message):
        load_rig(str(path))


CAMERA = {"channel": "CAM_A", "position_m": [1, 0, 1.4], "yaw_deg": 10, "view_deg": 80}


@pytest.mark.parametrize(
    ("change", "where"),
    [
        ({"channel": "LIDAR_TOP"}, "cameras.0.channel: .*channel of the LiDAR"),
        ({"channel": "Lidar_Top"}, "cameras.0.channel: .*channel of the LiDAR"),
        ({"size": [math.inf, 1]}, "cameras.0.size.0"),
        ({"size": [math.nan, 1]}, "cameras.0.size.0"),
        ({"size": [1, 0]}, "cameras.0.size.1"),
        ({"size": [1, -1]}, "cameras.0.size.1"),
        ({"size": [1e9, 1]}, "cameras.0.size.0"),
        ({"center": [math.nan, 0.5]}, "cameras.0.center.0"),
        ({"center": [0.5, 1e300]}, "cameras.0.center.1"),
        ({"yaw_deg": math.nan}, "cameras.0.yaw_deg"),
        ({"pitch_deg": math.inf}, "cameras.0.pitch_deg"),
        ({"roll_deg": -1e300}, "cameras.0.roll_deg"),
        ({"view_deg": math.nan}, "cameras.0.view_deg"),
        ({"position_m": [0, 1e300, 0]}, "cameras.0.position_m.1"),
        (
            {"view_deg": 151},
            r"cameras\.0: .*expected a view_deg that the lens can see, up to 150\.0, got 151",
        ),
        ({"lens": {"model": "fish"}}, r"cameras\.0\.lens: .*Expected a lens model, got 'fish'"),
        ({"lens": {"model": "f_theta", "coefficients": [1], "k": 2}}, r"cameras\.0\.lens"),
        ({"lens": {"model": "kannala_brandt", "coefficients": [1]}}, r"cameras\.0\.lens: .*got 1"),
        (
            {"lens": {"model": "f_theta", "coefficients": [1, -0.5]}, "view_deg": 120},
            r"cameras\.0: .*up to 114\.6, got 120",
        ),
        ({"lens": {"model": "f_theta", "coefficients": [1]}, "view_deg": 191}, r"cameras\.0\.view_deg"),
    ],
)
def test_cameras_that_cannot_be__are_named(tmp_path: Path, change: dict, where: str) -> None:
    path = tmp_path / "rig.json"
    path.write_text(json.dumps({"cameras": [{**CAMERA, **change}]}))
    with pytest.raises(SettingsError, match=f"not usable: {where}"):
        load_rig(str(path))


@pytest.mark.parametrize("height", [math.nan, -math.inf, 1e6])
def test_a_lidar_that_is_nowhere__is_named(tmp_path: Path, height: float) -> None:
    path = tmp_path / "rig.json"
    path.write_text(json.dumps({"cameras": [CAMERA], "lidar_m": [0, 0, height]}))
    with pytest.raises(SettingsError, match=r"lidar_m\.2"):
        load_rig(str(path))


@pytest.mark.parametrize("content", [b"[" * 100_000, b"\xff\xfe", b"[" + b"1" * 5000 + b"]"])
def test_bytes_that_are_no_rig__are_refused(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "rig.json"
    path.write_bytes(content)
    with pytest.raises(SettingsError, match="not usable"):
        load_rig(str(path))


def test_a_rig_file_that_cannot_be_read__is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> str:
        raise PermissionError(13, "Permission denied")

    path = tmp_path / "rig.json"
    path.write_text(json.dumps({"cameras": [CAMERA]}))
    monkeypatch.setattr(Path, "read_text", refuse)
    with pytest.raises(SettingsError, match=r"rig\.json is not usable: .*Permission denied"):
        load_rig(str(path))


@pytest.mark.parametrize("name", RIGS)
def test_named_rigs__could_be_files(name: str, tmp_path: Path) -> None:
    rig = RIGS[name]
    path = tmp_path / f"{name}.json"
    described = asdict(rig)
    del described["name"]
    path.write_text(json.dumps(described))
    assert load_rig(str(path)) == rig


def test_an_unknown_rig_names_those_there_are() -> None:
    with pytest.raises(SettingsError, match="nuscenes, wide5, truck8"):
        load_rig("nuscene")
