"""Writes bags of ROS 1 and ROS 2 with rosbags' writers, and nuScenes-format folders as bags.

`BagFile` writes any messages. `write_scene_as_bag` writes a scene of a folder: images as they are, clouds,
CameraInfo, transforms of the sensors, and ego poses at the time of every image and sweep, so that
interpolation is exact there.
"""

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from rosbags.rosbag1 import Writer as Writer1
from rosbags.rosbag2 import CompressionFormat, CompressionMode, StoragePlugin
from rosbags.rosbag2 import Writer as Writer2
from rosbags.typesys import Stores, get_typestore
from rosbags.typesys.store import Typestore

Form = Literal["ros1", "sqlite3", "mcap"]
FORMS: tuple[Form, ...] = ("ros1", "sqlite3", "mcap")
Records = list[dict[str, Any]]
EGO, GLOBAL = "base_link", "map"
FIELD_TYPES = {"i1": 1, "u1": 2, "i2": 3, "u2": 4, "i4": 5, "u4": 6, "f4": 7, "f8": 8}
ROS_LENSES = {"brown_conrady": ("plumb_bob", "rational_polynomial"), "kannala_brandt": ("equidistant",) * 2}


class BagFile:
    """A bag that is being written. Used as a context."""

    def __init__(self, path: Path, form: Form = "mcap", compression: str = "") -> None:
        self.form = form
        self.is_ros1 = form == "ros1"
        self.path = path.with_suffix(".bag") if self.is_ros1 else path
        self.store: Typestore = get_typestore(Stores.ROS1_NOETIC if self.is_ros1 else Stores.ROS2_HUMBLE)
        tf_message = "tf2_msgs/msg/TFMessage"
        if tf_message not in self.store.fielddefs:
            self.store.register({tf_message: get_typestore(Stores.ROS2_HUMBLE).fielddefs[tf_message]})
        self.writer: Any
        if self.is_ros1:
            self.writer = Writer1(self.path)
            if compression:
                self.writer.set_compression(Writer1.CompressionFormat[compression.upper()])
        else:
            self.writer = Writer2(path, version=9, storage_plugin=StoragePlugin[form.upper()])
            if compression:
                self.writer.set_compression(CompressionMode[compression.upper()], CompressionFormat.ZSTD)
        self._connections: dict[str, Any] = {}

    def __enter__(self) -> "BagFile":
        self.writer.open()
        return self

    def __exit__(self, *_: object) -> None:
        self.writer.close()

    def make(self, kind: str, **fields: Any) -> Any:
        """A message, with ROS 1's names of fields where they differ."""
        if self.is_ros1 and kind == "sensor_msgs/msg/CameraInfo":
            fields = {(name.upper() if name in "dkrp" else name): value for name, value in fields.items()}
        return self.store.types[kind](**fields)

    def header(self, time_us: int, frame: str) -> Any:
        seconds, rest_us = divmod(time_us, 1_000_000)
        stamp = self.make("builtin_interfaces/msg/Time", sec=seconds, nanosec=rest_us * 1000)
        sequence = {"seq": 0} if self.is_ros1 else {}
        return self.make("std_msgs/msg/Header", stamp=stamp, frame_id=frame, **sequence)

    def encode(self, kind: str, message: Any) -> bytes:
        serialize = self.store.serialize_ros1 if self.is_ros1 else self.store.serialize_cdr
        return bytes(serialize(message, kind))

    def write(self, topic: str, kind: str, log_time_us: int, message: Any) -> None:
        self.write_raw(topic, kind, log_time_us, self.encode(kind, message))

    def write_raw(self, topic: str, kind: str, log_time_us: int, data: bytes) -> None:
        if topic not in self._connections:
            self._connections[topic] = self.writer.add_connection(topic, kind, typestore=self.store)
        self.writer.write(self._connections[topic], log_time_us * 1000, data)

    def transform(self, parent: str, child: str, time_us: int, pose: Sequence[float]) -> Any:
        """A TransformStamped of x, y, z, qw, qx, qy, qz."""
        place = self.make("geometry_msgs/msg/Vector3", **dict(zip("xyz", map(float, pose[:3]), strict=True)))
        turn = self.make(
            "geometry_msgs/msg/Quaternion", **dict(zip("wxyz", map(float, pose[3:]), strict=True))
        )
        return self.make(
            "geometry_msgs/msg/TransformStamped",
            header=self.header(time_us, parent),
            child_frame_id=child,
            transform=self.make("geometry_msgs/msg/Transform", translation=place, rotation=turn),
        )

    def transforms(self, *transforms: Any) -> Any:
        return self.make("tf2_msgs/msg/TFMessage", transforms=list(transforms))

    def pose(self, pose: Sequence[float]) -> Any:
        place = self.make("geometry_msgs/msg/Point", **dict(zip("xyz", map(float, pose[:3]), strict=True)))
        turn = self.make(
            "geometry_msgs/msg/Quaternion", **dict(zip("wxyz", map(float, pose[3:]), strict=True))
        )
        return self.make("geometry_msgs/msg/Pose", position=place, orientation=turn)

    def odometry(self, time_us: int, pose: Sequence[float], frame: str = "odom", child: str = EGO) -> Any:
        zero = self.make("geometry_msgs/msg/Vector3", x=0.0, y=0.0, z=0.0)
        twist = self.make("geometry_msgs/msg/Twist", linear=zero, angular=zero)
        nothing = np.zeros(36)
        return self.make(
            "nav_msgs/msg/Odometry",
            header=self.header(time_us, frame),
            child_frame_id=child,
            pose=self.make("geometry_msgs/msg/PoseWithCovariance", pose=self.pose(pose), covariance=nothing),
            twist=self.make("geometry_msgs/msg/TwistWithCovariance", twist=twist, covariance=nothing),
        )

    def camera_info(
        self,
        time_us: int,
        frame: str,
        size: tuple[int, int],
        k: np.ndarray,
        *,
        model: str = "plumb_bob",
        d: Sequence[float] = (0.0,) * 5,
        p: np.ndarray | None = None,
        **fields: Any,
    ) -> Any:
        """A CameraInfo; k is ROS', with (0, 0) in the middle of the first pixel."""
        roi = {"x_offset": 0, "y_offset": 0, "height": 0, "width": 0, "do_rectify": False}
        roi.update(fields.pop("roi", {}))
        full = np.hstack((k, np.zeros((3, 1)))) if p is None else p
        values = {"binning_x": 0, "binning_y": 0, "r": np.eye(3).ravel(), **fields}
        return self.make(
            "sensor_msgs/msg/CameraInfo",
            header=self.header(time_us, frame),
            height=size[0],
            width=size[1],
            distortion_model=model,
            d=np.array(d, dtype=np.float64),
            k=np.asarray(k, dtype=np.float64).ravel(),
            p=np.asarray(full, dtype=np.float64).ravel(),
            roi=self.make("sensor_msgs/msg/RegionOfInterest", **roi),
            **values,
        )

    def compressed(self, time_us: int, frame: str, data: bytes, form: str = "jpeg") -> Any:
        content = np.frombuffer(data, np.uint8)
        header = self.header(time_us, frame)
        return self.make("sensor_msgs/msg/CompressedImage", header=header, format=form, data=content)

    def image(
        self,
        time_us: int,
        frame: str,
        size: tuple[int, int],
        encoding: str,
        data: bytes,
        step: int,
        *,
        big: bool = False,
    ) -> Any:
        return self.make(
            "sensor_msgs/msg/Image",
            header=self.header(time_us, frame),
            height=size[0],
            width=size[1],
            encoding=encoding,
            is_bigendian=int(big),
            step=step,
            data=np.frombuffer(data, np.uint8),
        )

    def cloud(
        self,
        time_us: int,
        frame: str,
        points: np.ndarray,
        *,
        rows: int = 1,
        padding: int = 0,
        big: bool = False,
    ) -> Any:
        """A PointCloud2 of a structured array, whose fields, offsets and item size it has."""
        kind = points.dtype.newbyteorder(">" if big else "<")
        width = len(points) // rows
        table = np.zeros((rows, width * kind.itemsize + padding), np.uint8)
        table[:, : width * kind.itemsize] = np.frombuffer(points.astype(kind).tobytes(), np.uint8).reshape(
            rows, -1
        )
        fields = [
            self.make(
                "sensor_msgs/msg/PointField",
                name=name,
                offset=int(offset),
                datatype=FIELD_TYPES[part.str[1:]],
                count=1,
            )
            for name, (part, offset, *_) in (kind.fields or {}).items()
        ]
        return self.make(
            "sensor_msgs/msg/PointCloud2",
            header=self.header(time_us, frame),
            height=rows,
            width=width,
            fields=fields,
            is_bigendian=big,
            point_step=kind.itemsize,
            row_step=table.shape[1],
            data=table.ravel(),
            is_dense=False,
        )


@dataclass(frozen=True)
class Shot:
    """A file of a sensor."""

    channel: str
    time_us: int
    path: Path
    record: dict[str, Any]
    calibration: dict[str, Any]
    pose: tuple[float, ...]
    """Of the ego frame in the global frame: x, y, z, qw, qx, qy, qz."""


class Folder:
    """The scenes of a nuScenes-format folder."""

    def __init__(self, root: Path, version: str = "") -> None:
        self.root = root
        self.tables = next(iter(sorted(root.glob(f"{version or '*'}/sample.json")))).parent
        self.sensors = self.by_token("sensor")
        self.calibrations = self.by_token("calibrated_sensor")
        self.poses = self.by_token("ego_pose")

    def records(self, table: str) -> Records:
        found: Records = json.loads((self.tables / f"{table}.json").read_text())
        return found

    def by_token(self, table: str) -> dict[str, dict[str, Any]]:
        return {record["token"]: record for record in self.records(table)}

    def scenes(self) -> list[str]:
        return [record["name"] for record in self.records("scene")]

    def shots(self, scene: str) -> Iterator[Shot]:
        """All files of a scene that exist, in order of time."""
        token = next(record["token"] for record in self.records("scene") if record["name"] == scene)
        samples = {record["token"] for record in self.records("sample") if record["scene_token"] == token}
        of_scene = [one for one in self.records("sample_data") if one["sample_token"] in samples]
        for record in sorted(of_scene, key=lambda one: (one["timestamp"], one["filename"])):
            calibration = self.calibrations[record["calibrated_sensor_token"]]
            pose = self.poses[record["ego_pose_token"]]
            path = self.root / record["filename"]
            if path.is_file():
                channel = self.sensors[calibration["sensor_token"]]["channel"]
                yield Shot(channel, record["timestamp"], path, record, calibration, _seven(pose))


def write_scene_as_bag(
    root: Path,
    out: Path,
    form: Form = "mcap",
    *,
    scene: str = "",
    poses: Literal["tf", "odometry", "none"] = "tf",
    compression: str = "",
    sweep_s: float = 0.0,
    delay_us: int = 2000,
) -> Path:
    """Write a scene of a nuScenes-format folder as a bag, without its boxes, and return its path.

    Args:
        root: The folder.
        out: The bag, without an ending.
        form: Kind of bag.
        scene: Name of the scene. Empty: the first.
        poses: Ego poses on /tf, on /odom, or nowhere.
        compression: Of the bag: "bz2" or "lz4" for ROS 1; "file", "message" or "storage" for ROS 2.
        sweep_s: If above 0, every point gets a `time`, evenly spread over so many seconds before the stamp.
        delay_us: How much later than its stamp a message was received.
    """
    folder = Folder(root)
    with BagFile(out, form, compression) as bag:
        shots = list(folder.shots(scene or folder.scenes()[0]))
        _write_mountings(bag, shots)
        seen_us: set[int] = set()
        for shot in shots:
            if shot.time_us not in seen_us and poses != "none":
                _write_pose(bag, shot, poses, delay_us)
            seen_us.add(shot.time_us)
            if shot.calibration["camera_intrinsic"]:
                _write_image(bag, shot, delay_us)
            else:
                _write_cloud(bag, shot, sweep_s, delay_us)
    return bag.path


def image_topic(channel: str, *, rectified: bool = True) -> str:
    return f"/{channel.lower()}/image_{'rect_color' if rectified else 'raw'}/compressed"


def _write_mountings(bag: BagFile, shots: Sequence[Shot]) -> None:
    """The static transforms, in one message per sensor as several nodes would write them."""
    mounted = {shot.channel: shot for shot in reversed(shots)}
    for channel, shot in sorted(mounted.items()):
        transform = bag.transform(EGO, channel.lower(), shot.time_us, _seven(shot.calibration))
        bag.write("/tf_static", "tf2_msgs/msg/TFMessage", shots[0].time_us, bag.transforms(transform))


def _write_pose(bag: BagFile, shot: Shot, poses: str, delay_us: int) -> None:
    log_us = shot.time_us + delay_us
    if poses == "tf":
        transform = bag.transform(GLOBAL, EGO, shot.time_us, shot.pose)
        bag.write("/tf", "tf2_msgs/msg/TFMessage", log_us, bag.transforms(transform))
    else:
        bag.write("/odom", "nav_msgs/msg/Odometry", log_us, bag.odometry(shot.time_us, shot.pose))


def _write_image(bag: BagFile, shot: Shot, delay_us: int) -> None:
    lens = shot.calibration.get("lens")
    topic, frame = image_topic(shot.channel, rectified=lens is None), shot.channel.lower()
    k = np.array(shot.calibration["camera_intrinsic"])
    k[:2, 2] -= 0.5  # ROS counts from the middle of the first pixel
    size = (shot.record["height"], shot.record["width"])
    model, d = "plumb_bob", [0.0] * 5
    if lens is not None:
        d = lens["coefficients"]
        model = ROS_LENSES[lens["model"]][len(d) > 5]
    info = bag.camera_info(shot.time_us, frame, size, k, model=model, d=d)
    log_us = shot.time_us + delay_us
    bag.write(f"/{frame}/camera_info", "sensor_msgs/msg/CameraInfo", log_us, info)
    form = "png" if shot.path.suffix == ".png" else "bgr8; jpeg compressed bgr8"
    image = bag.compressed(shot.time_us, frame, shot.path.read_bytes(), form)
    bag.write(topic, "sensor_msgs/msg/CompressedImage", log_us, image)


def _write_cloud(bag: BagFile, shot: Shot, sweep_s: float, delay_us: int) -> None:
    values = np.fromfile(shot.path, "<f4").reshape(-1, 5)
    kind = {
        "names": ["x", "y", "z", "intensity", "ring", "time"],
        "formats": ["<f4", "<f4", "<f4", "<f4", "<u2", "<f4"],
        "offsets": [0, 4, 8, 16, 20, 24],  # PCL pads x, y, z to 16 bytes
        "itemsize": 32,
    }
    points = np.zeros(len(values), kind)  # type: ignore[call-overload]
    for name, column in zip(("x", "y", "z", "intensity", "ring"), values.T, strict=True):
        points[name] = column
    points["time"] = np.linspace(-sweep_s, 0, len(values))
    if not sweep_s:
        points = points[["x", "y", "z", "intensity", "ring"]]
    frame = shot.channel.lower()
    cloud = bag.cloud(shot.time_us, frame, points)
    bag.write(f"/{frame}/points", "sensor_msgs/msg/PointCloud2", shot.time_us + delay_us, cloud)


def _seven(record: dict[str, Any]) -> tuple[float, ...]:
    return (*record["translation"], *record["rotation"])
