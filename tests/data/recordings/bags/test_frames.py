"""The tree of frames: look-up beside a plain product, and everything that can be wrong with it."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from occfeat.data.recordings.bags.bag import open_bag
from occfeat.data.recordings.bags.frames import FrameTree, build_tree, read_frames
from occfeat.data.recordings.bags.trajectory import build_trajectory
from occfeat.errors import FrameError
from tests.support.recordings.bag_writer import FORMS, BagFile, Form

START_US = 1_700_000_000_000_000
TIMES_US = START_US + np.arange(0, 1_000_001, 100_000)
TF = "tf2_msgs/msg/TFMessage"


def pose(seed: int) -> np.ndarray:
    draw = np.random.default_rng(seed)
    matrix = np.eye(4)
    matrix[:3, :3] = Rotation.random(random_state=draw).as_matrix()
    matrix[:3, 3] = draw.uniform(-5, 5, 3)
    return matrix


def moving(speed: float = 10.0) -> Any:
    after_s = (TIMES_US - START_US) * 1e-6
    turns = Rotation.from_rotvec(np.outer(after_s, (0, 0, 0.4))).as_quat()[:, [3, 0, 1, 2]]
    return build_trajectory(TIMES_US, np.outer(after_s, (speed, 1, 0)), turns)


def car() -> FrameTree:
    """The tree map <- odom <- base_link <- roof <- (cam, lidar), and one that is not connected: imu <-
    gps."""
    static = [
        ("base_link", "roof", pose(1)),
        ("roof", "cam", pose(2)),
        ("roof", "lidar", pose(3)),
        ("imu", "gps", pose(4)),
    ]
    return build_tree(static, {("map", "odom"): moving(0.5), ("odom", "base_link"): moving()})


def test_look_up_between_any_frames__is_the_product_of_the_transforms() -> None:
    tree = car()
    asked_us = START_US + np.array([0, 50_000, 130_000, 1_000_000])
    roof, cam, lidar = pose(1), pose(2), pose(3)
    np.testing.assert_allclose(tree.look_up_static("cam", "lidar"), np.linalg.inv(cam) @ lidar, atol=1e-12)
    np.testing.assert_allclose(tree.look_up_static("base_link", "cam"), roof @ cam, atol=1e-12)
    np.testing.assert_array_equal(tree.look_up_static("cam", "cam"), np.eye(4))
    found = tree.look_up("map", "lidar", asked_us)
    expected = moving(0.5).at(asked_us) @ moving().at(asked_us) @ roof @ lidar
    np.testing.assert_allclose(found, expected, atol=1e-12)
    np.testing.assert_allclose(tree.look_up("lidar", "map", asked_us), np.linalg.inv(expected), atol=1e-9)


def test_frames__are_grouped_by_tree() -> None:
    tree = car()
    assert tree.trees() == [["base_link", "cam", "lidar", "map", "odom", "roof"], ["gps", "imu"]]
    assert tree.are_connected("cam", "map")
    assert not tree.are_connected("cam", "gps")
    assert not tree.are_connected("cam", "nobody")
    assert tree.are_connected("nobody", "nobody")


def test_frames_that_are_not_connected__are_named_with_their_trees() -> None:
    with pytest.raises(FrameError) as caught:
        car().look_up_static("cam", "gps")
    assert caught.value.message == "Frames cam and gps are not connected."
    assert caught.value.first == (
        "tree of cam: base_link, cam, lidar, map, odom, roof",
        "tree of gps: gps, imu",
    )
    assert "/tf_static" in caught.value.hint


def test_unknown_frame__is_named_with_the_nearest_name() -> None:
    with pytest.raises(FrameError, match=r"(?s)'lidr' has no transform.*Did you mean lidar\?"):
        car().look_up_static("base_link", "lidr")


def test_frames_that_move__have_no_fixed_transform() -> None:
    with pytest.raises(FrameError, match=r"(?s)move against each other.*map <- odom"):
        car().look_up_static("map", "odom")


def test_times_without_a_transform__are_refused_and_told() -> None:
    tree = car()
    asked_us = START_US + np.array([0, 1_500_000])
    np.testing.assert_array_equal(tree.covers("map", "cam", asked_us), [True, False])
    with pytest.raises(FrameError, match="odom <- base_link: The pose at 1700000001500000 us is not known"):
        tree.look_up("map", "cam", asked_us)
    assert tree.covers("cam", "roof", asked_us).all()


@pytest.mark.parametrize("length", [2, 3, 5])
def test_loop__is_refused_with_its_frames(length: int) -> None:
    names = [f"f{number}" for number in range(length)]
    static = [(names[(number + 1) % length], name, pose(number)) for number, name in enumerate(names)]
    with pytest.raises(FrameError, match="Frames are in a loop: f0 <- "):
        build_tree([*static, ("f0", "leaf", pose(9))], {})


def test_contradictions__are_noted() -> None:
    other = pose(1).copy()
    other[0, 3] += 0.5
    broken = np.full((4, 4), np.nan)
    static = [
        ("a", "b", pose(1)),
        ("a", "b", pose(1)),
        ("a", "b", other),
        ("c", "b", pose(2)),
        ("a", "a", pose(2)),
        ("", "d", pose(2)),
        ("a", "e", broken),
    ]
    tree = build_tree(static, {("a", "b"): moving()})
    np.testing.assert_array_equal(tree.look_up_static("a", "b"), other)
    assert tree.faults == (
        "Static transforms a <- b differ by 0.500 m and 0.00 degrees; the last is used.",
        "Frame b has two parents, a and c; the first is used.",
        "A transform from 'a' to 'a' is left out.",
        "A transform from 'd' to '' is left out.",
        "The static transform a <- e is not finite or has no rotation.",
        "a <- b is static and moves; the static transform is used.",
    )


def test_transform_that_is_published_again_and_again__is_static() -> None:
    still = build_trajectory(TIMES_US, np.ones((11, 3)), np.tile((1.0, 0, 0, 0), (11, 1)))
    tree = build_tree([], {("a", "b"): still})
    np.testing.assert_array_equal(tree.look_up_static("a", "b")[:3, 3], (1, 1, 1))


@pytest.mark.parametrize("form", FORMS)
def test_transforms_of_a_bag__come_from_several_messages_and_nodes(tmp_path: Path, form: Form) -> None:
    with BagFile(tmp_path / "bag", form) as bag:

        def add(topic: str, parent: str, child: str, time_us: int, *numbers: float) -> None:
            transform = bag.transform(parent, child, time_us, numbers)
            bag.write(topic, TF, time_us, bag.transforms(transform))

        add("/tf_static", "/base_link", "cam", START_US, 1, 0, 0, 1, 0, 0, 0)
        add("/tf_static", "base_link", "/lidar", START_US + 5, 0, 2, 0, 2, 0, 0, 0)
        add("/robot/tf_static", "cam", "optical", 0, 0, 0, 3, 1, 0, 0, 0)
        for number in range(3):
            add("/tf", "map", "base_link", START_US + number * 100_000, number, 0, 0, 1, 0, 0, 0)
        bag.write_raw("/tf", TF, START_US + 400_000, b"\0\1\0\0\xff\xff\xff")
    with open_bag([bag.path]) as opened:
        tree = read_frames(opened)
    np.testing.assert_array_equal(tree.look_up_static("base_link", "optical")[:3, 3], (1, 0, 3))
    np.testing.assert_array_equal(tree.look_up_static("/base_link", "lidar")[:3, :3], np.eye(3))
    found = tree.look_up("map", "lidar", np.array([START_US + 50_000, START_US + 200_000]))
    np.testing.assert_allclose(found[:, :3, 3], [(0.5, 2, 0), (2, 2, 0)])
    assert tree.faults == ("1 messages with transforms cannot be decoded.",)
