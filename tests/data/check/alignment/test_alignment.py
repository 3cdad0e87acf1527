"""Known errors of cameras are found where they were put in, and none where there is none."""

import os
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from occfeat.commands.dataset.check import check
from occfeat.data.check.alignment.align import Alignment, align
from occfeat.data.check.alignment.depth_edges import find_edges
from occfeat.data.check.alignment.image_edges import FOCAL_PX, pyramid
from occfeat.data.check.alignment.judge import faults, lines
from occfeat.data.check.alignment.search import best_step, design
from occfeat.data.check.alignment.shots import read_grey
from occfeat.data.index.index import Index
from occfeat.data.source.sweep import Sweep
from occfeat.errors import RunError, SettingsError
from occfeat.settings.commands import CheckConfig
from occfeat.settings.sections import DataConfig
from tests.data.check.alignment.posts_world import BARREL, FISHEYE, SIZE, Camera, Street, build_posts
from tests.support.nuscenes_folder import edit_table

RIG = {
    "CAM_FRONT": Camera(),
    "CAM_LEFT": Camera(90.0, turn_deg=(0.0, 1.2, 0.0)),
    "CAM_BACK": Camera(180.0, turn_deg=(-1.2, 0.0, 0.0)),
    "CAM_RIGHT": Camera(-90.0, late_s=0.06),
    "CAM_FRONT_RIGHT": Camera(-50.0, BARREL, turn_deg=(0.0, 0.0, 1.8)),
    "CAM_BACK_LEFT": Camera(130.0, FISHEYE, 70.0, turn_deg=(0.0, -1.5, 0.0), late_s=-0.04),
    "CAM_FRONT_LEFT": Camera(50.0),
}


def aligned(root: Path) -> dict[str, Alignment]:
    index = Index.open(DataConfig(root=root))
    return {one.channel: one for one in align(index, index.rows("all"), index.default_channels)}


@pytest.fixture(scope="module")
def posts(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build_posts(tmp_path_factory.mktemp("posts") / "set", RIG)


@pytest.fixture(scope="module")
def found(posts: Path) -> dict[str, Alignment]:
    return aligned(posts)


@pytest.mark.parametrize("channel", RIG)
def test_align__finds_what_was_put_in(found: dict[str, Alignment], channel: str) -> None:
    fit, put_in = found[channel].fit, RIG[channel]
    assert fit is not None
    assert fit.errors[:3] == pytest.approx(np.array(put_in.turn_deg), abs=0.3)
    assert fit.errors[3] == pytest.approx(put_in.late_s, abs=0.02)


def test_judge__names_the_cameras_that_are_off(found: dict[str, Alignment]) -> None:
    named = [said.split()[0] for said in faults([*found.values()])]
    assert set(named) == {name for name, one in RIG.items() if any(one.turn_deg) or one.late_s}


def test_align__says_that_time_cannot_be_told_where_the_car_stands(tmp_path: Path) -> None:
    street = Street(speed_m_s=0.0, posts=400)
    one = aligned(build_posts(tmp_path / "set", {"CAM_FRONT": Camera(turn_deg=(0, 1.0, 0))}, street))
    fit = one["CAM_FRONT"].fit
    assert fit is not None
    assert fit.errors[1] == pytest.approx(1.0, abs=0.3)
    assert np.isnan(fit.spread[3])
    assert fit.errors[3] == 0
    assert "time cannot be told" in "\n".join(lines([*one.values()]))


def test_align__needs_no_rings(tmp_path: Path) -> None:
    root = build_posts(tmp_path / "set", {"CAM_FRONT": Camera(turn_deg=(0, 1.2, 0))}, Street(rings=False))
    fit = aligned(root)["CAM_FRONT"].fit
    assert fit is not None
    assert fit.errors[1] == pytest.approx(1.2, abs=0.3)


@pytest.mark.parametrize(
    ("street", "reason"),
    [(Street(posts=0, key_frames=8), "too few edges"), (Street(key_frames=3), "too few key frames")],
)
def test_align__says_what_is_too_little(tmp_path: Path, street: Street, reason: str) -> None:
    one = aligned(build_posts(tmp_path / "set", {"CAM_FRONT": Camera()}, street))
    assert one["CAM_FRONT"].fit is None
    assert reason in "\n".join(lines([*one.values()]))
    assert [*faults([*one.values()])] == []


def test_align__leaves_out_what_cannot_be_read(tmp_path: Path) -> None:
    root = build_posts(tmp_path / "set", {"CAM_FRONT": Camera()}, Street(key_frames=8))
    images, sweeps = (sorted((root / "samples" / name).iterdir()) for name in ("CAM_FRONT", "LIDAR_TOP"))
    images[0].write_bytes(b"not an image")
    sweeps[1].unlink()
    assert aligned(root)["CAM_FRONT"].key_frames == 6


def test_align__says_so_without_any_lidar(tmp_path: Path) -> None:
    root = build_posts(tmp_path / "set", {"CAM_FRONT": Camera()}, Street(key_frames=8))
    for path in (root / "samples" / "LIDAR_TOP").iterdir():
        path.unlink()
    assert aligned(root) == {}
    assert "no LiDAR file" in lines([])[0]


def test_align__takes_time_as_untold_without_poses(tmp_path: Path) -> None:
    root = build_posts(tmp_path / "set", {"CAM_FRONT": Camera()}, Street(key_frames=8))

    def stand(poses: list[dict[str, object]]) -> None:
        for one in poses:
            one.update(translation=[0.0] * 3, rotation=[1.0, 0.0, 0.0, 0.0])

    edit_table(root, "ego_pose", stand)
    one = aligned(root)["CAM_FRONT"]
    assert one.reason == "the car stands"


def test_check__prints_and_draws_what_it_finds(posts: Path, tmp_path: Path) -> None:
    out = tmp_path / "pictures"
    outcome = check(CheckConfig(data=posts, calibration=True, out=out))
    assert outcome.exit_code == 2
    assert "CAM_LEFT does not fit the LiDAR: y +1." in outcome.text
    assert outcome.text.splitlines()[-1] == str(out)
    assert {path.stem for path in out.iterdir()} == set(RIG)
    assert all(path.read_bytes().startswith(b"\x89PNG") for path in out.iterdir())
    with pytest.raises(RunError, match="exists already"):
        check(CheckConfig(data=posts, calibration=True, out=out))


def test_check__refuses_pictures_of_nothing(posts: Path, tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="--calibration"):
        check(CheckConfig(data=posts, out=tmp_path / "pictures"))


def test_find_edges__lie_between_the_near_and_the_far_return() -> None:
    azimuth = np.linspace(-np.pi, np.pi, 720, endpoint=False) + 1e-3
    far_m = np.where(np.abs(azimuth) < 0.1, 10.0, 20.0)
    points = np.column_stack((far_m * np.cos(azimuth), far_m * np.sin(azimuth), np.zeros(720), np.zeros(720)))
    edges = find_edges(Sweep(points.astype(np.float32)))
    assert len(edges.weight) == 2
    assert np.linalg.norm(edges.points, axis=1) == pytest.approx(10, abs=0.01)
    assert np.abs(np.arctan2(edges.points[:, 1], edges.points[:, 0])) == pytest.approx(0.1, abs=0.005)
    assert edges.weight == pytest.approx(0.5**0.5, abs=1e-3)


def test_find_edges__finds_none_on_the_ground() -> None:
    grid = np.meshgrid(np.radians(np.linspace(-25, -3, 20)), np.linspace(-3, 3, 500))
    rise, azimuth = (one.ravel() for one in grid)
    far_m = 1.8 / np.tan(-rise)
    points = np.column_stack((far_m * np.cos(azimuth), far_m * np.sin(azimuth), np.full(len(rise), -1.8)))
    assert len(find_edges(Sweep(points.astype(np.float32))).weight) == 0


def test_pyramid__takes_away_what_is_usual_at_a_height() -> None:
    grey = np.full((120, 400), 120, dtype=np.uint8)
    grey[60:] = np.random.default_rng(0).integers(60, 180, (60, 400))
    grey[:50, 200:] = 20
    edges = pyramid(grey)[0]
    ground, sky = edges[70:110, 130:-130].mean(axis=(0, 1)), edges[10:40]
    assert ground == pytest.approx(0, abs=0.01)
    assert sky[:, 198:202, 0].min() > 0.3
    assert np.abs(sky[:, 20:100]).max() < 0.01


def test_read_grey__has_pixels_of_one_angle(posts: Path) -> None:
    index = Index.open(DataConfig(root=posts))
    record = index.key_frame(0).cameras[0]
    near, far = (torch.diag(torch.tensor((f, f, 1.0), dtype=torch.float64)) for f in (80.0, 2 * FOCAL_PX))
    assert read_grey(index, replace(record, intrinsics=near)).shape == SIZE
    assert read_grey(index, replace(record, intrinsics=far)).shape == (SIZE[0] // 2, SIZE[1] // 2)


def test_best_step__is_the_maximum_of_a_quadratic_form() -> None:
    points, peak = design(4), np.array([0.3, -0.5, 0.2, 0.4])
    bend = np.diag([1.0, 2.0, 0.5, 1.0])
    bend[1, 3] = bend[3, 1] = 0.8
    away = points - peak
    values = 5 - np.einsum("dk,kl,dl->d", away, bend, away)
    assert best_step(values, points) == pytest.approx(peak, abs=1e-6)
    assert np.linalg.norm(best_step(values, points, 0.1)) == pytest.approx(0.1, rel=1e-3)


@pytest.mark.data
def test_align__is_content_with_a_real_scene() -> None:
    root = os.environ.get("OCCFEAT_TEST_SCENE")
    if not root:
        pytest.skip("set OCCFEAT_TEST_SCENE to a folder with a whole nuScenes scene")
    found = aligned(Path(root))
    assert all(one.fit is not None for one in found.values())
    assert [*faults([*found.values()])] == []
