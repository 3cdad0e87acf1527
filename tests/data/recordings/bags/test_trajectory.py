"""Poses between poses, beside scipy's; gaps, jumps and disorder."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.spatial.transform import Rotation, Slerp

from occfeat.data.recordings.bags.trajectory import EXTRAPOLATION_US, Trajectory, build_trajectory
from occfeat.errors import DatasetError
from occfeat.geometry.motion import invert, matrices, quaternions, slerp

START_US = 1_700_000_000_000_000
seeds = st.integers(0, 2**32 - 1)


def random_poses(seed: int, count: int) -> tuple[np.ndarray, np.ndarray]:
    draw = np.random.default_rng(seed)
    turns = Rotation.random(count, random_state=draw).as_quat()[:, [3, 0, 1, 2]]
    return draw.uniform(-100, 100, (count, 3)), turns


def drive(seconds: float = 2.0, period_us: int = 100_000, speed: float = 10.0) -> Trajectory:
    times_us = START_US + np.arange(0, int(seconds * 1e6) + 1, period_us)
    after_s = (times_us - START_US) * 1e-6
    turns = Rotation.from_rotvec(np.outer(after_s, (0, 0, 0.3))).as_quat()[:, [3, 0, 1, 2]]
    return build_trajectory(times_us, np.outer(after_s * speed, (1.0, 0.2, 0)), turns)


@given(seeds)
def test_matrices_and_quaternions__are_scipys(seed: int) -> None:
    positions_m, turns = random_poses(seed, 20)
    made = matrices(positions_m, turns)
    expected = Rotation.from_quat(turns[:, [1, 2, 3, 0]]).as_matrix()
    np.testing.assert_allclose(made[:, :3, :3], expected, atol=1e-12)
    np.testing.assert_allclose(made @ invert(made), np.broadcast_to(np.eye(4), (20, 4, 4)), atol=1e-9)
    back = quaternions(made[:, :3, :3])
    np.testing.assert_allclose(back, turns * np.where(turns[:, :1] < 0, -1, 1), atol=1e-9)


@pytest.mark.parametrize("axis", ["x", "y", "z"])
def test_quaternions__are_exact_for_half_turns(axis: str) -> None:
    turn = Rotation.from_euler(axis, np.array([[np.pi], [3.0], [-3.0]])).as_matrix()
    back = Rotation.from_quat(quaternions(turn)[:, [1, 2, 3, 0]]).as_matrix()
    np.testing.assert_allclose(back, turn, atol=1e-12)


@given(seeds, st.floats(0, 1))
def test_slerp__is_scipys(seed: int, share: float) -> None:
    _, turns = random_poses(seed, 2)
    found = slerp(turns[:1], turns[1:], np.array([share]))
    both = Rotation.from_quat(turns[:, [1, 2, 3, 0]])
    expected = Slerp([0, 1], both)(share).as_matrix()
    np.testing.assert_allclose(Rotation.from_quat(found[0, [1, 2, 3, 0]]).as_matrix(), expected, atol=1e-9)


def test_slerp__keeps_equal_rotations() -> None:
    turn = np.array([[0.6, 0.0, 0.8, 0.0]])
    np.testing.assert_allclose(slerp(turn, -turn, np.array([0.5])), turn, atol=1e-15)


@given(seeds)
def test_poses_between__are_interpolated_one_by_one(seed: int) -> None:
    draw = np.random.default_rng(seed)
    times_us = START_US + np.cumsum(draw.integers(1, 200_000, 12))
    positions_m, turns = random_poses(seed, 12)
    trajectory = build_trajectory(times_us, positions_m, turns)
    asked_us = draw.integers(times_us[0], times_us[-1] + 1, 30)
    found = trajectory.at(asked_us)
    for one_us, pose in zip(asked_us, found, strict=True):
        after = int(np.searchsorted(times_us, one_us, side="right").clip(1, 11))
        share = (one_us - times_us[after - 1]) / (times_us[after] - times_us[after - 1])
        between = positions_m[after - 1] + share * (positions_m[after] - positions_m[after - 1])
        np.testing.assert_allclose(pose[:3, 3], between, atol=1e-9)
        pair = Rotation.from_quat(turns[after - 1 : after + 1][:, [1, 2, 3, 0]])
        np.testing.assert_allclose(pose[:3, :3], Slerp([0, 1], pair)(share).as_matrix(), atol=1e-8)


def test_pose_at_a_known_time__is_that_pose() -> None:
    trajectory = drive()
    found = trajectory.at(trajectory.times_us)
    np.testing.assert_array_equal(found[:, :3, 3], trajectory.positions_m)
    np.testing.assert_allclose(found, matrices(trajectory.positions_m, trajectory.quaternions), atol=1e-15)


def test_motion__continues_a_little_and_no_further() -> None:
    trajectory = drive(speed=20.0)
    just_before, just_after = START_US - EXTRAPOLATION_US, START_US + 2_000_000 + EXTRAPOLATION_US
    found = trajectory.at(np.array([just_before, just_after]))
    np.testing.assert_allclose(found[:, 0, 3], (-2.0, 42.0))
    for too_far_us in (just_before - 1, just_after + 1):
        with pytest.raises(DatasetError, match="21 poses reach from"):
            trajectory.at(np.array([START_US, too_far_us]))


def test_gap__is_not_bridged() -> None:
    whole = drive(seconds=5.0)
    kept = (whole.times_us <= START_US + 1_000_000) | (whole.times_us >= START_US + 3_000_000)
    trajectory = build_trajectory(whole.times_us[kept], whole.positions_m[kept], whole.quaternions[kept])
    edges_us = np.array([START_US + 1_000_000, START_US + 3_000_000])
    np.testing.assert_array_equal(trajectory.gaps(), edges_us[None])
    assert trajectory.covers(edges_us).all()
    assert not trajectory.covers(np.array([START_US + 1_000_001, START_US + 2_999_999])).any()
    with pytest.raises(DatasetError, match="1 gaps between them are longer than 1 s"):
        trajectory.at(np.array([START_US + 2_000_000]))
    assert len(whole.gaps()) == 0


def test_jump__is_found() -> None:
    whole = drive()
    moved_m = whole.positions_m + np.where(np.arange(21)[:, None] >= 8, (50.0, 0, 0), 0)
    assert len(whole.jumps()) == 0
    jumped = build_trajectory(whole.times_us, moved_m, whole.quaternions)
    np.testing.assert_array_equal(jumped.jumps(), [START_US + 800_000])


def test_disorder_repetitions_and_impossible_poses__are_sorted_out_and_counted() -> None:
    whole = drive()
    order = np.array([0, 2, 1, 3, 3, 4, 5])
    positions_m, turns = whole.positions_m[order].copy(), whole.quaternions[order].copy()
    positions_m[5], turns[6] = np.nan, 0
    trajectory = build_trajectory(whole.times_us[order], positions_m, turns * 3)
    np.testing.assert_array_equal(trajectory.times_us, whole.times_us[:4])
    np.testing.assert_allclose(trajectory.quaternions, whole.quaternions[:4])
    assert trajectory.faults == (
        "2 poses are not finite or have no rotation.",
        "1 poses were out of order and are sorted.",
        "1 poses repeat a time.",
    )


def test_one_pose_and_none__know_little() -> None:
    one = build_trajectory(np.array([START_US]), np.array([[1.0, 2, 3]]), np.array([[1.0, 0, 0, 0]]))
    np.testing.assert_array_equal(one.at(np.array([START_US]))[0, :3, 3], (1, 2, 3))
    assert not one.covers(np.array([START_US + EXTRAPOLATION_US + 1]))[0]
    none = build_trajectory(np.zeros(0, np.int64), np.zeros((0, 3)), np.zeros((0, 4)))
    with pytest.raises(DatasetError, match="there are no poses"):
        none.at(np.array([START_US]))
    assert (len(none.gaps()), len(none.jumps())) == (0, 0)
