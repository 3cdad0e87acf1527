"""Bags of every form: topics, order, content; what is missing or cannot be one recording."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from occfeat.data.recordings.bags.bag import Bag, open_bag
from occfeat.data.recordings.bags.clouds.read import read_cloud
from occfeat.data.recordings.bags.images import BagImage, read_image
from occfeat.data.recordings.bags.messages import header_of
from occfeat.errors import DatasetError
from tests.support.nuscenes_folder import build_nuscenes_folder
from tests.support.recordings.bag_writer import FORMS, BagFile, Folder, Form, image_topic, write_scene_as_bag

COMPRESSIONS: list[tuple[Form, str]] = [
    ("ros1", ""),
    ("ros1", "bz2"),
    ("ros1", "lz4"),
    ("sqlite3", ""),
    ("sqlite3", "file"),
    ("sqlite3", "message"),
    ("mcap", ""),
    ("mcap", "file"),
    ("mcap", "message"),
    ("mcap", "storage"),
]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build_nuscenes_folder(tmp_path_factory.mktemp("folder") / "set", returns=300, sweeps=0)


@pytest.fixture
def bag(folder: Path, tmp_path: Path) -> Iterator[Bag]:
    with open_bag([write_scene_as_bag(folder, tmp_path / "bag")]) as opened:
        yield opened


@pytest.mark.parametrize(("form", "compression"), COMPRESSIONS)
def test_bag__has_the_files_of_the_folder_in_every_form(
    folder: Path, tmp_path: Path, form: Form, compression: str
) -> None:
    written = write_scene_as_bag(folder, tmp_path / "bag", form, compression=compression)
    shots = {(shot.channel.lower(), shot.time_us): shot for shot in Folder(folder).shots("scene-0061")}
    with open_bag([written]) as bag:
        assert bag.damage == ()
        seen: list[Path] = []
        for message in bag.messages(list(bag.topics)):
            if message.topic.endswith("/compressed"):
                image = read_image(message)
                shot = shots[image.header.frame, image.header.time_us]
                assert image.content == shot.path.read_bytes()
                seen.append(shot.path)
            if message.topic.endswith("/points"):
                cloud = read_cloud(message)
                shot = shots[cloud.header.frame, cloud.header.time_us]
                np.testing.assert_array_equal(
                    cloud.points_m, np.fromfile(shot.path, "<f4").reshape(-1, 5)[:, :3]
                )
                seen.append(shot.path)
    assert sorted(seen) == sorted(shot.path for shot in shots.values())


def test_topics__have_types_and_counts(bag: Bag) -> None:
    topic = bag.topics[image_topic("CAM_FRONT")]
    assert (topic.kind, topic.count) == ("sensor_msgs/msg/CompressedImage", 3)
    assert [one.name for one in bag.topics_of("sensor_msgs/msg/PointCloud2")] == ["/lidar_top/points"]
    assert list(bag.topics) == sorted(bag.topics)


def test_messages__come_in_order_of_log_time_and_of_chosen_topics(bag: Bag) -> None:
    chosen = {image_topic("CAM_FRONT"), "/tf", "/nobody"}
    messages = list(bag.messages(chosen))
    times_us = [message.log_time_us for message in messages]
    assert times_us == sorted(times_us)
    assert {message.topic for message in messages} == chosen - {"/nobody"}
    assert list(bag.messages(["/nobody"])) == []
    middle_us = times_us[len(times_us) // 2]
    later = [message.log_time_us for message in bag.messages(chosen, start_us=middle_us)]
    earlier = [message.log_time_us for message in bag.messages(chosen, stop_us=middle_us)]
    assert earlier + later == times_us
    assert earlier


@pytest.mark.parametrize("form", FORMS)
def test_header__is_that_of_the_decoded_message(folder: Path, tmp_path: Path, form: Form) -> None:
    with open_bag([write_scene_as_bag(folder, tmp_path / "bag", form, poses="odometry")]) as bag:
        topics = [name for name in bag.topics if not name.startswith("/tf")]
        for message in bag.messages(topics):
            assert message.header() == header_of(message.decode())
            assert message.log_time_us == message.header().time_us + 2000


def test_several_bags__are_one_recording(folder: Path, tmp_path: Path) -> None:
    first = write_scene_as_bag(folder, tmp_path / "first")
    second = write_scene_as_bag(folder, tmp_path / "second", "sqlite3", scene="scene-0103")
    with open_bag([second, first]) as bag:
        assert bag.topics["/tf"].count == 2 * 3 * 7
        times_us = [message.log_time_us for message in bag.messages(["/tf"])]
    assert times_us == sorted(times_us)
    assert len(times_us) == 42


def test_single_files__are_bags(folder: Path, tmp_path: Path) -> None:
    for form, ending in (("mcap", ".mcap"), ("sqlite3", ".db3")):
        whole = write_scene_as_bag(folder, tmp_path / form, form)  # type: ignore[arg-type]
        (file,) = whole.glob(f"*{ending}")
        with open_bag([whole]) as bag, open_bag([file]) as single:
            assert single.topics == bag.topics
            images = [read_image(message) for message in single.messages([image_topic("CAM_BACK")])]
        assert all(isinstance(image, BagImage) for image in images)
        assert len(images) == 3


def test_what_is_not_a_bag__is_refused(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match="at least one bag"):
        open_bag([])
    with pytest.raises(DatasetError, match="does not exist"):
        open_bag([tmp_path / "nothing.bag"])
    (tmp_path / "text.bag").write_text("hello")
    with pytest.raises(DatasetError, match=r"text\.bag cannot be read"):
        open_bag([tmp_path / "text.bag"])
    ros1 = write_scene_as_bag(folder, tmp_path / "one", "ros1")
    ros2 = write_scene_as_bag(folder, tmp_path / "two", "mcap")
    with pytest.raises(DatasetError, match="ROS 1 and of ROS 2"):
        open_bag([ros1, ros2])


def test_topic_of_two_types__is_refused(tmp_path: Path) -> None:
    for name, kind in (("a", "std_msgs/msg/Header"), ("b", "geometry_msgs/msg/PoseStamped")):
        with BagFile(tmp_path / name) as bag:
            header = bag.header(10, "f")
            message = (
                header if name == "a" else bag.make(kind, header=header, pose=bag.pose((0, 0, 0, 1, 0, 0, 0)))
            )
            bag.write("/same", kind, 10, message)
    with pytest.raises(DatasetError, match="/same has messages of two types"):
        open_bag([tmp_path / "a", tmp_path / "b"])
