"""Readers of recordings: bags of every form, single messages, files of poses."""

import tempfile
from pathlib import Path
from unittest.mock import patch

import numpy as np

from occfeat.data.recordings.bags.bag import open_bag
from occfeat.data.recordings.bags.camera_info import CAMERA_INFO, read_camera_info
from occfeat.data.recordings.bags.clouds.deskew import deskew
from occfeat.data.recordings.bags.clouds.read import CLOUD_KINDS, POINT_CLOUD, read_cloud
from occfeat.data.recordings.bags.frames import TRANSFORMS, TransformCollector
from occfeat.data.recordings.bags.images import COMPRESSED_IMAGE, IMAGE, IMAGE_KINDS, read_image
from occfeat.data.recordings.bags.inspect import inspect_bag
from occfeat.data.recordings.bags.messages import Message
from occfeat.data.recordings.bags.poses import ODOMETRY, POSE_KINDS, PoseCollector, read_kitti, read_tum
from occfeat.data.recordings.bags.trajectory import build_trajectory
from occfeat.errors import DatasetError
from tests.bad_input.fuzzing.confined import Reader, Target
from tests.bad_input.fuzzing.mutation import spoil_bytes, spoil_words, spoil_yaml
from tests.support.recordings.bag_writer import BagFile, Form
from tests.support.recordings.content import POINT, jpeg, points

START_US = 1_700_000_000_000_000
TF = TRANSFORMS[0]
DRIVE = build_trajectory(
    START_US + np.arange(5) * 500_000, np.outer(np.arange(5.0), (1, 0, 0)), np.tile((1.0, 0, 0, 0), (5, 1))
)
"""A drive at the time of the messages."""


def write_small_bag(path: Path, form: Form, compression: str = "") -> Path:
    """One of each kind of message, twice."""
    with BagFile(path, form, compression) as bag:
        for time_us in (START_US, START_US + 100_000):
            for topic, kind, message in _messages(bag, time_us):
                bag.write(topic, kind, time_us, message)
    return bag.path


def _messages(bag: BagFile, time_us: int) -> list[tuple[str, str, object]]:
    size = (6, 8)
    mosaic = bytes(range(48))
    pose = (float(time_us - START_US) / 1e5, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0)
    timed = points(10, np.dtype([*POINT.descr, ("t", "<u4")]))
    return [
        (
            "/tf_static",
            TF,
            bag.transforms(bag.transform("base_link", "cam", time_us, (1.0, 0, 0, 1, 0, 0, 0))),
        ),
        ("/tf", TF, bag.transforms(bag.transform("map", "base_link", time_us, pose))),
        ("/odom", ODOMETRY, bag.odometry(time_us, pose)),
        ("/cam/image_raw/compressed", COMPRESSED_IMAGE, bag.compressed(time_us, "cam", jpeg(size))),
        ("/cam/image_raw", IMAGE, bag.image(time_us, "cam", size, "bayer_rggb8", mosaic, 8)),
        ("/yuv/image_raw", IMAGE, bag.image(time_us, "cam", size, "yuyv", mosaic * 2, 16)),
        ("/cam/camera_info", CAMERA_INFO, bag.camera_info(time_us, "cam", size, np.diag((5.0, 5, 1)))),
        ("/points", POINT_CLOUD, bag.cloud(time_us, "cam", timed, rows=2, padding=3)),
    ]


def _use(message: Message) -> None:
    """Read a message as far as its kind allows."""
    if message.kind in IMAGE_KINDS:
        read_image(message)
    elif message.kind in CLOUD_KINDS:
        cloud = read_cloud(message)
        if cloud.after_s is not None and len(cloud.after_s):
            times_us = cloud.header.time_us + cloud.after_s * 1e6
            deskew(cloud.points_m, times_us, cloud.header.time_us, DRIVE, np.eye(4))
    elif message.kind == CAMERA_INFO:
        read_camera_info(message, rectified=False)
        read_camera_info(message, rectified=True)
    elif message.kind in POSE_KINDS:
        poses = PoseCollector()
        poses.add(message)
        poses.poses().trajectory.gaps()
    elif message.kind in TRANSFORMS:
        transforms = TransformCollector()
        transforms.add(message)
        transforms.tree().trees()


def _read_bag(paths: list[Path]) -> None:
    """Look through a bag, and read all its messages."""
    with open_bag(paths) as bag:
        inspect_bag(bag)
        for message in bag.messages(list(bag.topics)):
            try:
                _use(message)
            except DatasetError:
                continue


FORMS: tuple[tuple[Form, str], ...] = (
    ("ros1", ""),
    ("ros1", "lz4"),
    ("mcap", ""),
    ("mcap", "storage"),
    ("mcap", "message"),
    ("sqlite3", ""),
    ("sqlite3", "file"),
)


def bags(folder: Path) -> Reader:
    """Files of bags of every form and compression, in their folders."""
    bag_of: dict[Path, Path] = {}
    for form, compression in FORMS:
        bag = write_small_bag(folder / f"{form}_{compression}", form, compression)
        endings = (".db3", ".mcap", ".zstd")
        file = bag if bag.is_file() else next(one for one in bag.iterdir() if one.suffix in endings)
        bag_of[file] = bag

    def read(path: Path) -> None:
        # rosbags unpacks bags that are compressed as files into a temporary folder
        with patch.object(tempfile, "tempdir", str(folder)):
            _read_bag([bag_of[path]])

    return Reader([Target(file, (spoil_bytes, spoil_words)) for file in bag_of], read)


def bag_metadata(folder: Path) -> Reader:
    """The description of a ROS 2 bag."""
    bag = write_small_bag(folder / "bag", "mcap")
    return Reader([Target(bag / "metadata.yaml", (spoil_bytes, spoil_yaml))], lambda _: _read_bag([bag]))


def bag_messages(folder: Path) -> Reader:
    """Single messages of every kind, as ROS 1 and ROS 2 encode them."""
    originals: dict[Path, Message] = {}
    for form in ("ros1", "mcap"):
        with open_bag([write_small_bag(folder / f"bag_{form}", form)]) as bag:  # type: ignore[arg-type]
            for number, message in enumerate(bag.messages(list(bag.topics))):
                path = folder / f"{form}{number}.bin"
                path.write_bytes(message.data)
                message.decode()  # the definitions are read while the bag is open
                originals[path] = message

    def read(path: Path) -> None:
        original = originals[path]
        message = Message(
            original.topic, original.kind, original.log_time_us, path.read_bytes(), original.decoder
        )
        if message.decoder.has_header(message.kind):
            message.header()
        _use(message)

    return Reader([Target(path, (spoil_bytes, spoil_words)) for path in originals], read)


def pose_files(folder: Path) -> Reader:
    """Files of poses in both formats."""
    tum, kitti, times = folder / "tum.txt", folder / "kitti.txt", folder / "times.txt"
    tum.write_text("# time x y z qx qy qz qw\n1.5 0 0 0 0 0 0 1\n1.6 1 2 3 0 0 0.6 0.8\n")
    kitti.write_text("1 0 0 5 0 1 0 6 0 0 1 7\n1 0 0 6 0 1 0 6 0 0 1 7\n")
    times.write_text("0.0\n1e-01\n")

    def read(path: Path) -> None:
        trajectory = read_tum(path) if path == tum else read_kitti(kitti, times)
        trajectory.gaps()
        trajectory.jumps()
        trajectory.at(trajectory.times_us)

    return Reader([Target(path, (spoil_bytes,)) for path in (tum, kitti, times)], read)
