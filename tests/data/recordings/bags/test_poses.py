"""Trajectories from transforms, odometry, poses and files; deskewing beside a plain reference."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.spatial.transform import Rotation

from occfeat.data.recordings.bags.bag import open_bag
from occfeat.data.recordings.bags.clouds.deskew import deskew
from occfeat.data.recordings.bags.frames import build_tree, read_frames
from occfeat.data.recordings.bags.poses import poses_of_frames, poses_of_topic, read_kitti, read_tum
from occfeat.data.recordings.bags.trajectory import Trajectory, build_trajectory
from occfeat.errors import DatasetError
from occfeat.geometry.motion import matrices
from tests.support.recordings.bag_writer import FORMS, BagFile, Form

START_US = 1_700_000_000_000_000


def drive(count: int = 20, seed: int = 0) -> Trajectory:
    """A curve with 10 m/s and 0.5 rad/s, a pose each 50 ms."""
    after_s = np.arange(count) * 0.05
    turns = Rotation.from_rotvec(np.outer(after_s, (0.02, -0.01, 0.5))).as_quat()[:, [3, 0, 1, 2]]
    places_m = np.stack((20 * np.sin(after_s / 2), 20 - 20 * np.cos(after_s / 2), 0.1 * after_s), axis=1)
    return build_trajectory(
        START_US + (after_s * 1e6).astype(np.int64), places_m + np.array((500, 700, 3)), turns
    )


def rows(trajectory: Trajectory) -> list[tuple[int, np.ndarray]]:
    numbers = np.hstack((trajectory.positions_m, trajectory.quaternions))
    return list(zip(trajectory.times_us.tolist(), numbers, strict=True))


def assert_same(found: Trajectory, expected: Trajectory) -> None:
    np.testing.assert_array_equal(found.times_us, expected.times_us)
    np.testing.assert_allclose(found.at(found.times_us), expected.at(expected.times_us), atol=1e-9)


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("kind", ["Odometry", "PoseStamped", "PoseWithCovarianceStamped"])
def test_topic_of_poses__is_a_trajectory(tmp_path: Path, kind: str, form: Form) -> None:
    with BagFile(tmp_path / "bag", form) as bag:
        for time_us, numbers in rows(drive()):
            if kind == "Odometry":
                bag.write(
                    "/p", "nav_msgs/msg/Odometry", time_us, bag.odometry(time_us, tuple(numbers), "/odom")
                )
                continue
            pose = bag.pose(tuple(numbers))
            if kind == "PoseWithCovarianceStamped":
                pose = bag.make("geometry_msgs/msg/PoseWithCovariance", pose=pose, covariance=np.zeros(36))
            name = f"geometry_msgs/msg/{kind}"
            bag.write("/p", name, time_us, bag.make(name, header=bag.header(time_us, "odom"), pose=pose))
        bag.write_raw("/p", bag._connections["/p"].msgtype, START_US, b"\0\1\0\0")
    with open_bag([bag.path]) as opened:
        found = poses_of_topic(opened, "/p")
    assert_same(found.trajectory, drive())
    assert found.trajectory.faults == ("1 messages cannot be decoded.",)
    assert (found.global_frame, found.moving_frame) == ("odom", "base_link" if kind == "Odometry" else "")


def test_topic_without_poses__is_refused_with_those_that_have_some(tmp_path: Path) -> None:
    with BagFile(tmp_path / "bag") as bag:
        bag.write("/odom", "nav_msgs/msg/Odometry", START_US, bag.odometry(START_US, (0, 0, 0, 1, 0, 0, 0)))
    with (
        open_bag([bag.path]) as opened,
        pytest.raises(DatasetError, match=r"(?s)/pose has no poses.*: /odom\."),
    ):
        poses_of_topic(opened, "/pose")


def test_transforms__are_a_trajectory(tmp_path: Path) -> None:
    with BagFile(tmp_path / "bag") as bag:
        for time_us, numbers in rows(drive()):
            message = bag.transforms(bag.transform("map", "base_link", time_us, tuple(numbers)))
            bag.write("/tf", "tf2_msgs/msg/TFMessage", time_us, message)
    with open_bag([bag.path]) as opened:
        found = poses_of_frames(read_frames(opened), "map", "base_link")
    assert_same(found.trajectory, drive())


def test_transforms_that_cover_different_times__are_used_where_both_do() -> None:
    whole = drive()
    late = build_trajectory(whole.times_us[10:] + 10, whole.positions_m[10:], whole.quaternions[10:])
    tree = build_tree([], {("map", "odom"): late, ("odom", "base_link"): whole})
    found = poses_of_frames(tree, "map", "base_link").trajectory
    assert found.times_us[0] == whole.times_us[9]  # the later one is continued backwards by 0.1 s
    assert set(late.times_us.tolist()) <= set(found.times_us.tolist())
    still = build_tree([("map", "base_link", np.eye(4))], {})
    with pytest.raises(DatasetError, match="base_link does not move in map"):
        poses_of_frames(still, "map", "base_link")


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig"])
def test_tum_file__is_read(tmp_path: Path, encoding: str) -> None:
    lines = ["# time x y z qx qy qz qw", ""]
    for time_us, (x, y, z, w, qx, qy, qz) in rows(drive()):
        lines.append(
            f"{time_us / 1e6:.6f} {x!r} {y!r} {z!r} {qx!r} {qy!r} {qz!r} {w!r}".replace("np.float64", "")
        )
    path = tmp_path / "poses.txt"
    path.write_text("\n".join(lines[2:]).replace("(", "").replace(")", ""), encoding=encoding)
    assert_same(read_tum(path), drive())


def test_kitti_file__is_read_with_its_times(tmp_path: Path) -> None:
    whole = drive()
    poses = matrices(whole.positions_m, whole.quaternions)[:, :3].reshape(-1, 12)
    np.savetxt(tmp_path / "poses.txt", poses, fmt="%.17g")
    np.savetxt(tmp_path / "times.txt", whole.times_us / 1e6, fmt="%.6f")
    assert_same(read_kitti(tmp_path / "poses.txt", tmp_path / "times.txt"), whole)
    np.savetxt(tmp_path / "times.txt", whole.times_us[1:] / 1e6, fmt="%.6f")
    with pytest.raises(DatasetError, match=r"has 20 poses, and .* has 19 times"):
        read_kitti(tmp_path / "poses.txt", tmp_path / "times.txt")


@pytest.mark.parametrize(
    ("factor", "kept"),
    [((1, 1, 1), 20), ((2, 2, 2), 19), ((1, -1, 1), 19), ((1, 1, 1.001), 20), ((0, 1, 1), 19)],
)
def test_kitti_file__poses_that_scale_or_mirror_are_left_out(
    tmp_path: Path, factor: tuple[float, float, float], kept: int
) -> None:
    whole = drive()
    poses = matrices(whole.positions_m, whole.quaternions)[:, :3]
    poses[3, :, :3] *= np.array(factor)
    np.savetxt(tmp_path / "poses.txt", poses.reshape(-1, 12), fmt="%.9g")
    np.savetxt(tmp_path / "times.txt", whole.times_us / 1e6, fmt="%.6f")
    found = read_kitti(tmp_path / "poses.txt", tmp_path / "times.txt")
    assert len(found) == kept
    assert any("have no rotation" in fault for fault in found.faults) == (kept == 19)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("1 2 3", "line 1: expected time x y z qx qy qz qw, got '1 2 3'"),
        ("0 0 0 0 0 0 0 1\nhello", "line 2: expected time"),
        ("1700000000000000000 0 0 0 0 0 0 1", "expected times in seconds, got 1.7e"),
        ("nan 0 0 0 0 0 0 1", "expected times in seconds"),
    ],
)
def test_damaged_pose_file__is_refused_by_line(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "poses.txt"
    path.write_text(text)
    with pytest.raises(DatasetError, match=message):
        read_tum(path)
    with pytest.raises(DatasetError, match="cannot be read"):
        read_tum(tmp_path / "nothing.txt")


MOUNT = np.eye(4)
MOUNT[:3, :3] = Rotation.from_euler("xyz", (0.1, -0.05, 2.0)).as_matrix()
MOUNT[:3, 3] = (1.0, 0.2, 1.8)


@given(st.integers(0, 2**32 - 1), st.floats(0.001, 0.12))
def test_deskew__moves_each_point_by_the_pose_at_its_time(seed: int, sweep_s: float) -> None:
    draw = np.random.default_rng(seed)
    trajectory = drive()
    points_m = draw.uniform(-80, 80, (200, 3)).astype(np.float32)
    reference_us = START_US + 500_000
    times_us = reference_us - draw.uniform(0, sweep_s * 1e6, 200)
    found = deskew(points_m, times_us, reference_us, trajectory, MOUNT)
    at_reference = trajectory.at(np.array([reference_us]))[0] @ MOUNT
    for point_m, pose, moved_m in zip(points_m, trajectory.at(times_us) @ MOUNT, found, strict=True):
        there_m = np.linalg.inv(at_reference) @ pose @ np.append(point_m, 1.0)
        np.testing.assert_allclose(moved_m, there_m[:3], atol=2e-4)


def test_deskew__leaves_points_of_the_reference_time() -> None:
    points_m = np.random.default_rng(0).uniform(-50, 50, (10, 3)).astype(np.float32)
    times_us = np.full(10, float(START_US + 500_000))
    found = deskew(points_m, times_us, START_US + 500_000, drive(), MOUNT)
    np.testing.assert_allclose(found, points_m, atol=1e-5)
    empty = deskew(points_m[:0], times_us[:0], START_US, drive(), MOUNT)
    assert empty.shape == (0, 3)


def test_deskew__makes_a_wall_straight_again() -> None:
    trajectory = drive()
    reference_us = START_US + 500_000
    times_us = reference_us + np.linspace(-50_000, 50_000, 500)
    wall_global_m = np.stack((np.full(500, 530.0), np.linspace(690, 720, 500), np.full(500, 4.0)), axis=1)
    poses = trajectory.at(times_us) @ MOUNT
    seen_m = np.einsum("pji,pj->pi", poses[:, :3, :3], wall_global_m - poses[:, :3, 3]).astype(np.float32)
    still_m = deskew(seen_m, times_us, reference_us, trajectory, MOUNT)
    back = trajectory.at(np.array([reference_us]))[0] @ MOUNT
    moved_m = still_m @ back[:3, :3].T + back[:3, 3]
    np.testing.assert_allclose(moved_m, wall_global_m, atol=1e-3)
    assert np.abs(seen_m @ back[:3, :3].T + back[:3, 3] - wall_global_m).max() > 0.5


def test_deskew__needs_poses_of_the_sweep() -> None:
    with pytest.raises(DatasetError, match="is not known"):
        deskew(np.ones((2, 3), np.float32), np.array([START_US - 1e6, START_US]), START_US, drive(), MOUNT)
