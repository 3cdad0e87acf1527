"""Poses that the LiDAR contradicts are named by their scene."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from occfeat.data.check.calibration.motion import Motion, fault_of_motions, faults_of_motion, measure_motion
from occfeat.data.index.index import Index
from occfeat.settings.sections import DataConfig
from tests.support.nuscenes_folder import edit_table
from tests.support.small_world import copy_of_world


def street(seed: int = 0) -> np.ndarray:
    """Return returns of some posts and walls around, in a frame of the map."""
    random = np.random.default_rng(seed)
    corners = random.uniform(-40, 40, (60, 2))
    along = (
        random.uniform(0, 4, (60, 80, 1))
        * np.stack((np.cos(angles := random.uniform(0, 7, 60)), np.sin(angles)), 1)[:, None]
    )
    points = (corners[:, None] + along).reshape(-1, 2)
    return np.column_stack((points, random.uniform(1, 3, len(points))))


def step(x: float, y: float, turn_deg: float = 0.0) -> np.ndarray:
    angle = np.radians(turn_deg)
    pose = np.eye(4)
    pose[:2, :2] = [[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]]
    pose[:2, 3] = x, y
    return pose


def seen_after(move: np.ndarray) -> np.ndarray:
    return (street() - move[:3, 3]) @ move[:3, :3]


@pytest.mark.parametrize("move", [step(0, 0), step(5, 0), step(4, 1, 8.0), step(-3, 0.5), step(14, -2, -5.0)])
def test_measure_motion__finds_how_far_the_car_moved(move: np.ndarray) -> None:
    found = measure_motion("a", street(), seen_after(move), move)
    assert found is not None
    assert found.fit > 0.9
    np.testing.assert_allclose(found.by_lidar_m, move[:2, 3], atol=0.8)
    assert fault_of_motions([found]) == ""


@pytest.mark.parametrize(
    "spoil",
    [
        lambda move: step(0, 0),
        lambda move: np.linalg.inv(move),
        lambda move: step(*(move[:2, 3] / 1000)),
        lambda move: step(move[1, 3], move[0, 3]),
        lambda move: step(*(2 * move[:2, 3])),
    ],
    ids=["zero", "inverse", "kilometres", "x for y", "twice"],
)
def test_measure_motion__contradicts_poses_that_are_not_so(spoil: Callable[[np.ndarray], np.ndarray]) -> None:
    move = step(4, 0.5, 2.0)
    found = measure_motion("a", street(), seen_after(move), spoil(move))
    assert found is not None
    assert "the LiDAR sees the car move by (" in fault_of_motions([found])


def test_measure_motion__cannot_tell_it_from_noise_or_little() -> None:
    random = np.random.default_rng(0)
    noise = [random.uniform((-30, -30, 0), (30, 30, 3), (3000, 3)) for _ in range(2)]
    found = measure_motion("a", noise[0], noise[1], step(3, 0))
    assert found is None
    assert measure_motion("a", noise[0][:5], noise[1][:5], step(3, 0)) is None
    assert measure_motion("a", np.zeros((0, 3)), np.zeros((0, 3)), step(3, 0)) is None


def test_fault_of_motions__needs_a_third() -> None:
    right = Motion("a", np.array([2.0, 0]), np.array([2.0, 0]), 1.0)
    wrong = Motion("a", np.array([0.0, 0]), np.array([2.0, 0]), 0.1)
    assert fault_of_motions([right, wrong, right, right]) == ""
    said = "the LiDAR sees the car move by (2.0, 0.0) m where its poses say (0.0, 0.0) m"
    assert fault_of_motions([wrong, right, right]) == said


@pytest.mark.parametrize(
    ("change", "wrong"),
    [
        (lambda one: None, False),
        (lambda one: one.update(translation=[10 * x for x in one["translation"]]), True),
    ],
    ids=["as it is", "decimetres"],
)
def test_faults_of_motion__of_a_street(
    street_world: Path, tmp_path: Path, change: Callable[[dict[str, object]], object], wrong: bool
) -> None:
    root = copy_of_world(street_world, tmp_path)
    edit_table(root, "ego_pose", lambda records: [change(one) for one in records], version="v1.0-street")
    index = Index.open(DataConfig(root=root))
    faults = list(faults_of_motion(index, index.rows("all"), ()))
    assert bool(faults) == wrong
    assert all(one.startswith("street-") for one in faults)
