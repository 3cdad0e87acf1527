"""Cameras with the images of another one are found by what the LiDAR sees."""

import os
from collections.abc import Sequence
from dataclasses import replace
from itertools import permutations
from pathlib import Path

import numpy as np
import pytest

from occfeat.data.check.alignment import swapped
from occfeat.data.check.alignment.match import Shot
from occfeat.data.check.alignment.shots import Scan
from occfeat.data.check.alignment.swapped import FEWEST_KEY_FRAMES, FITS, faults_of, look_at_images_of_others
from occfeat.data.check.check import check
from occfeat.data.index.index import Index
from occfeat.settings.sections import DataConfig
from tests.data.check.alignment.posts_world import FISHEYE, Camera, build_posts

RIG = {"CAM_FRONT": Camera(), "CAM_LEFT": Camera(90.0), "CAM_BACK_LEFT": Camera(130.0, FISHEYE, 70.0)}


def sums_of(strength: Sequence[Sequence[float]], key_frames: int = 8) -> np.ndarray:
    """Return sums of key frames that differ a little from a mean strength."""
    sums = np.ones((key_frames, len(strength), len(strength), 2))
    sums[..., 0] = strength
    sums[..., 0] *= np.linspace(0.9, 1.1, key_frames)[:, None, None]
    return sums


OWN = ((0.03, 0.004, 0.0), (-0.003, 0.02, 0.003), (0.005, 0.0, 0.05))


@pytest.mark.parametrize("order", [*permutations(range(3))])
def test_faults__are_all_cameras_that_were_exchanged(order: tuple[int, ...]) -> None:
    found = [*faults_of("abc", sums_of(OWN)[:, :, list(order)])]
    wrong = [(name, "abc"[order.index(at)]) for at, name in enumerate("abc") if order[at] != at]
    assert [(said[0], said.split()[5]) for said in found] == wrong


@pytest.mark.parametrize(
    "sums",
    [
        sums_of(OWN)[:0],
        sums_of(OWN, FEWEST_KEY_FRAMES - 1)[:, :, [1, 0, 2]],
        sums_of(np.array(OWN) * FITS / 0.06)[:, :, [1, 0, 2]],
        sums_of(((0.03, 0.05), (0.05, 0.03))),
        sums_of(((0.01, 0.05), (0.0, 0.06))),
    ],
    ids=("nothing seen", "few key frames", "too dark", "two that look alike", "one that sees little"),
)
def test_faults__are_none_where_it_cannot_be_told(sums: np.ndarray) -> None:
    assert [*faults_of("abc"[: sums.shape[1]], sums)] == []


def test_faults__are_none_where_key_frames_contradict_each_other() -> None:
    sums = sums_of(OWN)[:, :, [1, 0, 2]]
    sums[:, 0, 1, 0] *= np.array([8, -6, 8, -6, 8, -6, 1, 1])
    assert [*faults_of("abc", sums)] == []


def test_faults__are_none_where_only_one_camera_has_other_images() -> None:
    sums = sums_of(OWN)
    sums[:, 0, 0, 0], sums[:, 0, 1, 0], sums[:, 1, 1, 0] = 0.001, 0.05, 0.002
    assert [*faults_of("abc", sums)] == []


def test_check__names_cameras_whose_folders_were_exchanged(tmp_path: Path) -> None:
    root = build_posts(tmp_path / "set", RIG)
    assert "implausible images" not in check(DataConfig(root=root)).text()
    front, left = root / "samples" / "CAM_FRONT", root / "samples" / "CAM_LEFT"
    for ours, theirs in zip(sorted(front.iterdir()), sorted(left.iterdir()), strict=True):
        kept = ours.read_bytes()
        ours.write_bytes(theirs.read_bytes())
        theirs.write_bytes(kept)
    (problem,) = (one for one in check(DataConfig(root=root)).problems if one.kind == "implausible images")
    assert problem.count == 2
    assert problem.first[0].startswith("CAM_FRONT fits the images of CAM_LEFT and not its own")
    assert problem.first[1].startswith("CAM_LEFT fits the images of CAM_FRONT")


@pytest.mark.data
def test_images_of_others__on_a_real_scene(monkeypatch: pytest.MonkeyPatch) -> None:
    root = Path(os.environ.get("OCCFEAT_TEST_SCENE") or pytest.skip("set OCCFEAT_TEST_SCENE"))
    index = Index.open(DataConfig(root=root))
    rows, names = index.rows("all"), index.default_channels
    look = swapped._look

    def exchanged(index: Index, scan: Scan, names: Sequence[str]) -> dict[str, Shot]:
        shots = look(index, scan, names)
        taken = [shots[name] for name in names]
        for name, other in zip(names, [*taken[1:], taken[0]], strict=True):
            shots[name] = replace(shots[name], levels=other.levels)
        return shots

    assert [*look_at_images_of_others(index, rows, names, ())] == []
    monkeypatch.setattr(swapped, "_look", exchanged)
    assert len([*look_at_images_of_others(index, rows, names, ())]) == len(names)
