"""Writes one scene: its files at once, its rows of all tables at the end, to one file.

A scene without that file is unfinished and is rewritten. Scenes are independent, so several processes can
write scenes of one data set in parallel; `tables.write_tables` merges the rows.
"""

import io
import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from types import MappingProxyType

import numpy as np
import orjson
from jaxtyping import Float32, Float64, Real
from PIL import Image

from occfeat.data.formats.nuscenes.writer.files import FilesInBackground
from occfeat.data.formats.nuscenes.writer.rows import Row, link, token, transform
from occfeat.data.formats.nuscenes.writer.values import (
    AnnotatedBox,
    CalibratedCamera,
    CalibratedRig,
    CameraImage,
    EgoPose,
    LidarSweep,
    RecordingLog,
    require_plain_name,
)
from occfeat.errors import DatasetError
from occfeat.geometry.lens import PINHOLE
from occfeat.machine.atomic import write_bytes_atomic

JPEG_QUALITY = 92
"""JPEG quality of images given as pixels; chroma is not subsampled."""
FIELDS = 5
"""Number of values per LiDAR point: x, y, z, intensity, ring."""


def rows_folder(root: Path, version: str) -> Path:
    """Return the folder for the rows of finished scenes, which only an unfinished data set has."""
    return root / f".{version}.scenes"


def rows_file(root: Path, version: str, scene: str) -> Path:
    """Return the file with the rows of a finished scene."""
    return rows_folder(root, version) / f"{scene}.json"


def file_stem(scene: str, channel: str, time_us: int) -> str:
    """Return the file name, without suffix, of a sensor's recording at a time."""
    return f"{scene}__{channel}__{time_us}"


@dataclass(frozen=True)
class StoredImage:
    """The content of an image file and its fields in the tables."""

    content: bytes
    ending: str
    size: tuple[int, int]
    """Height and width in pixels."""


@dataclass(frozen=True, eq=False)
class StoredCloud:
    """LiDAR points as they are stored."""

    channel: str
    pose: EgoPose
    points: Float32[np.ndarray, "P 5"]
    """x, y, z in metres in the LiDAR's frame, intensity, ring."""


@dataclass(frozen=True)
class SensorFile:
    """The file of a sensor's recording and its fields in the tables."""

    channel: str
    pose: EgoPose
    path: str
    """Relative to the data folder."""
    content: bytes | memoryview
    fileformat: str
    size: tuple[int, int]
    """Height and width of an image in pixels; zeros for a LiDAR."""
    is_key: bool = True


def encode_image(image: np.ndarray | bytes | str | Path) -> StoredImage:
    """Encode pixels as JPEG, or return a JPEG or PNG unchanged.

    Raises:
        DatasetError: It cannot be read, or is neither a JPEG nor a PNG.
    """
    if isinstance(image, np.ndarray):
        buffer = io.BytesIO()
        Image.fromarray(image).save(buffer, format="JPEG", quality=JPEG_QUALITY, subsampling=0)
        return StoredImage(buffer.getvalue(), "jpg", (image.shape[0], image.shape[1]))
    name = "An image given as bytes" if isinstance(image, bytes) else f"The image {image}"
    try:
        content = image if isinstance(image, bytes) else Path(image).read_bytes()
        with Image.open(io.BytesIO(content), formats=("JPEG", "PNG")) as opened:
            width, height = opened.size
            return StoredImage(content, "jpg" if opened.format == "JPEG" else "png", (height, width))
    except (OSError, ValueError) as error:
        raise DatasetError(f"{name} is not a readable JPEG or PNG: {error}.") from error


class SceneWriter:
    """Writes the files of one scene and keeps its rows until `finish`. `close` it, finished or not.

    Args:
        root: The data folder.
        version: Name of the folder of tables.
        name: Name of the scene.
        rig: The sensors.
        namespace: Included in tokens, to distinguish data sets with equal names.
        log: Where the scene was recorded, if known.
        description: Free text.
        has_poses: Whether the poses of the car are known. If they are not, give the identity everywhere.

    Raises:
        DatasetError: A name is not a valid file name.
    """

    def __init__(
        self,
        root: Path,
        version: str,
        name: str,
        rig: CalibratedRig,
        *,
        namespace: str = "",
        log: RecordingLog | None = None,
        description: str = "",
        has_poses: bool = True,
    ) -> None:
        require_plain_name("version", version)
        require_plain_name("scene", name)
        self.root, self.version, self.name, self.rig = root, version, name, rig
        self._key, self._namespace = (namespace, name), namespace
        self._log, self._description, self._has_poses = log, description, has_poses
        self._last_us: dict[str, int] = {}
        self._files = FilesInBackground()
        self._categories: dict[str, str] = {}
        self._attributes: dict[str, None] = {}
        self._rows: dict[str, list[Row]] = {
            name: []
            for name in ("scene", "log", "sample", "sample_data", "ego_pose", "sample_annotation", "instance")
        }

    def instance_token(self, instance: str) -> str:
        """Return the token of an object of this scene."""
        return token(*self._key, "instance", instance)

    def add_sweep(self, channel: str, pose: EgoPose, points: Real[np.ndarray, "P C"]) -> None:
        """Write a LiDAR sweep between key frames; it belongs to the next one, or else to the last.

        Args:
            channel: Name of the LiDAR.
            pose: Time and ego pose of the sweep.
            points: As of a `LidarSweep`. A read-only array as it is stored is not copied.

        Raises:
            DatasetError: As for `add_key_frame`.
        """
        cloud = self._checked_cloud(channel, pose, points)
        self._write([self._lidar_file(cloud, is_key=False)])

    def add_key_frame(
        self,
        pose: EgoPose,
        images: Mapping[str, CameraImage],
        sweeps: Mapping[str, LidarSweep] = MappingProxyType({}),
        boxes: Sequence[AnnotatedBox] = (),
    ) -> None:
        """Write a key frame.

        Args:
            pose: Time and ego pose of the key frame, which are those of the reference LiDAR.
            images: Images by channel; cameras can be missing.
            sweeps: LiDAR sweeps by channel; LiDARs can be missing.
            boxes: Annotations at the key frame's time.

        Raises:
            DatasetError: A channel is not part of the rig, a time is not increasing, points are not
            finite, an image cannot be read, or an object has two boxes or two categories.
            RunError: A file cannot be written.
        """
        self._check_images(pose, images, has_points=bool(sweeps))
        self._check_boxes(boxes)
        clouds = [
            self._checked_cloud(channel, sweep.pose or pose, sweep.points)
            for channel, sweep in sweeps.items()
        ]
        channels = [camera.channel for camera in self.rig.cameras if camera.channel in images]
        files = [self._image_file(channel, images[channel], pose) for channel in channels]
        self._write([*files, *(self._lidar_file(cloud, is_key=True) for cloud in clouds)])
        sample = self._sample_token()
        self._rows["sample"].append(
            {
                "token": sample,
                "timestamp": int(pose.time_us),
                "prev": "",
                "next": "",
                "scene_token": token(*self._key, "scene"),
            }
        )
        if boxes:
            points_global = np.concatenate([np.zeros((0, 3)), *map(self._points_global, clouds)])
            for box in boxes:
                self._annotate(box, sample, points_global)

    def finish(self) -> None:
        """Write the rows of the scene, which marks it as finished.

        Raises:
            DatasetError: It has no key frame.
            RunError: The file cannot be written.
        """
        samples = self._rows["sample"]
        if not samples:
            raise DatasetError(
                f"Scene {self.name!r} has no key frame.", hint="Add one, or leave the scene out."
            )
        behind = self._sample_token()
        for row in self._rows["sample_data"]:
            if row["sample_token"] == behind:
                row["sample_token"] = samples[-1]["token"]
        link(samples)
        self._link_data()
        self._link_annotations()
        rows = {**self._rows, **self._describe(), **self._shared_rows()}
        self._files.finish()  # before the scene counts as finished
        write_bytes_atomic(rows_file(self.root, self.version, self.name), orjson.dumps(rows))

    def close(self) -> None:
        """Stop writing, whether the scene is finished or not."""
        self._files.close()

    def _sample_token(self) -> str:
        """Return the token of the next key frame."""
        return token(*self._key, "sample", len(self._rows["sample"]))

    def _where(self) -> str:
        """Return the name of the next key frame, for messages."""
        return f"Key frame {len(self._rows['sample'])} of scene {self.name!r}"

    def _check_images(self, pose: EgoPose, images: Mapping[str, CameraImage], *, has_points: bool) -> None:
        """Refuse images of unknown cameras or with times that do not increase."""
        where, samples = self._where(), self._rows["sample"]
        channels = [camera.channel for camera in self.rig.cameras]
        if unknown := [channel for channel in images if channel not in channels]:
            hint = f"Cameras of the rig: {', '.join(channels) or 'none'}."
            raise DatasetError(f"{where} has images of unknown cameras.", first=unknown, hint=hint)
        if not images and not has_points:
            raise DatasetError(f"{where}: expected an image or LiDAR points, got neither.")
        if samples and pose.time_us <= samples[-1]["timestamp"]:
            before = samples[-1]["timestamp"]
            raise DatasetError(f"{where}: expected a time after {before}, got {pose.time_us}.")
        for channel, image in images.items():
            self._check_time(channel, image.pose or pose)

    def _check_boxes(self, boxes: Sequence[AnnotatedBox]) -> None:
        """Refuse a second box of an object, and a changed category."""
        where = self._where()
        counts = Counter(box.instance for box in boxes)
        if twice := [instance for instance, count in counts.items() if count > 1]:
            raise DatasetError(f"{where} has two boxes of one instance.", first=twice)
        for box in boxes:
            known = self._categories.get(box.instance, box.category)
            if known != box.category:
                what = f"expected category {known} of instance {box.instance!r} as before, got {box.category}"
                raise DatasetError(f"{where}: {what}.", hint="Give every object one category.")

    def _check_time(self, channel: str, pose: EgoPose) -> None:
        """Refuse a recording that is not later than the previous one of the sensor."""
        last_us = self._last_us.get(channel, -1)
        if pose.time_us <= last_us:
            what = f"{self._where()}: {channel}: expected a time after {last_us}, got {pose.time_us}."
            raise DatasetError(what, hint="Add the recordings of each sensor in order of time.")

    def _checked_cloud(self, channel: str, pose: EgoPose, points: Real[np.ndarray, "P C"]) -> StoredCloud:
        """Return points as they are stored; unknown values are 0."""
        where = f"{self._where()}, {channel} at {pose.time_us}"
        if channel not in self.rig.lidars:
            hint = f"LiDARs of the rig: {', '.join(self.rig.lidars) or 'none'}."
            raise DatasetError(f"{where}: rig {self.rig.name!r} has no LiDAR {channel}.", hint=hint)
        if not 3 <= points.shape[1] <= FIELDS or not np.isfinite(points).all():
            hint = "Give x, y, z in metres, then intensity and ring if known."
            raise DatasetError(f"{where}: expected 3 to {FIELDS} finite numbers per point.", hint=hint)
        self._check_time(channel, pose)
        is_final = points.dtype == np.float32 and points.shape[1] == FIELDS and not points.flags.writeable
        if is_final and points.flags.c_contiguous:
            return StoredCloud(channel, pose, points)
        stored = np.zeros((len(points), FIELDS), dtype=np.float32)  # a copy, as it is written later
        stored[:, : points.shape[1]] = points
        return StoredCloud(channel, pose, stored)

    def _image_file(self, channel: str, image: CameraImage, key_frame: EgoPose) -> SensorFile:
        """Return the file of an image."""
        pose, stored = image.pose or key_frame, encode_image(image.image)
        path = f"samples/{channel}/{file_stem(self.name, channel, pose.time_us)}.{stored.ending}"
        return SensorFile(channel, pose, path, stored.content, stored.ending, stored.size)

    def _lidar_file(self, cloud: StoredCloud, *, is_key: bool) -> SensorFile:
        """Return the file of a sweep."""
        folder = "samples" if is_key else "sweeps"
        path = f"{folder}/{cloud.channel}/{file_stem(self.name, cloud.channel, cloud.pose.time_us)}.pcd.bin"
        content = cloud.points.astype("<f4", copy=False).data
        return SensorFile(cloud.channel, cloud.pose, path, content, "pcd", (0, 0), is_key)

    def _write(self, files: Sequence[SensorFile]) -> None:
        """Write files and add their rows."""
        for file in files:
            self._files.write(self.root / file.path, file.content)
            self._add_data(file)

    def _add_data(self, file: SensorFile) -> None:
        """Add the rows of a file: the file itself and its ego pose."""
        time_us = self._last_us[file.channel] = int(file.pose.time_us)
        data, at = token(*self._key, "data", file.channel, time_us), transform(file.pose.global_from_ego)
        self._rows["ego_pose"].append(
            {
                "token": data,
                "timestamp": time_us,
                "rotation": at["rotation"],
                "translation": at["translation"],
            }
        )
        self._rows["sample_data"].append(
            {
                "token": data,
                "sample_token": self._sample_token(),
                "ego_pose_token": data,
                "calibrated_sensor_token": self._calibration_token(file.channel),
                "timestamp": time_us,
                "fileformat": file.fileformat,
                "is_key_frame": file.is_key,
                "height": file.size[0],
                "width": file.size[1],
                "filename": file.path,
                "prev": "",
                "next": "",
            }
        )

    def _calibration_token(self, channel: str) -> str:
        """Return the token of a sensor of the rig."""
        return token(self._namespace, self.rig.name, channel)

    def _points_global(self, cloud: StoredCloud) -> Float64[np.ndarray, "P 3"]:
        """Return LiDAR points in the global frame."""
        global_from_lidar = cloud.pose.global_from_ego @ self.rig.lidars[cloud.channel]
        points = cloud.points[:, :3].astype(np.float64)
        turned: Float64[np.ndarray, "P 3"] = points @ global_from_lidar[:3, :3].T
        return turned + global_from_lidar[:3, 3]

    def _annotate(self, box: AnnotatedBox, sample: str, points_global: Float64[np.ndarray, "P 3"]) -> None:
        """Add the row of a box."""
        count = box.lidar_points
        if count is None:
            count = int(box.contains(points_global).sum())
        length, width, height = (float(part) for part in box.size_m)
        half = box.yaw_global_rad / 2
        self._categories[box.instance] = box.category
        if box.attribute:
            self._attributes[box.attribute] = None
        self._rows["sample_annotation"].append(
            {
                "token": token(*self._key, "annotation", box.instance, len(self._rows["sample"]) - 1),
                "sample_token": sample,
                "instance_token": self.instance_token(box.instance),
                "visibility_token": str(box.visibility) if box.visibility else "",
                "attribute_tokens": [token("attribute", box.attribute)] if box.attribute else [],
                "translation": [float(part) for part in box.center_global_m],
                "size": [width, length, height],
                "rotation": [math.cos(half), 0.0, 0.0, math.sin(half)],
                "prev": "",
                "next": "",
                "num_lidar_pts": int(count),
                "num_radar_pts": 0,
            }
        )

    def _link_data(self) -> None:
        """Link the records of every sensor in time."""
        chains: dict[str, list[Row]] = {}
        for row in self._rows["sample_data"]:
            chains.setdefault(row["calibrated_sensor_token"], []).append(row)
        for chain in chains.values():
            link(chain)

    def _link_annotations(self) -> None:
        """Link the boxes of every object in time, and list the objects."""
        chains: dict[str, list[Row]] = {}
        for row in self._rows["sample_annotation"]:
            chains.setdefault(row["instance_token"], []).append(row)
        for (instance, chain), category in zip(chains.items(), self._categories.values(), strict=True):
            link(chain)
            self._rows["instance"].append(
                {
                    "token": instance,
                    "category_token": token("category", category),
                    "nbr_annotations": len(chain),
                    "first_annotation_token": chain[0]["token"],
                    "last_annotation_token": chain[-1]["token"],
                }
            )

    def _describe(self) -> dict[str, list[Row]]:
        """Return the rows of the scene itself, its log and its map."""
        samples, log = self._rows["sample"], token(*self._key, "log")
        scene: Row = {
            "token": token(*self._key, "scene"),
            "log_token": log if self._log else None,
            "nbr_samples": len(samples),
            "first_sample_token": samples[0]["token"],
            "last_sample_token": samples[-1]["token"],
            "name": self.name,
            "description": self._description,
            **({} if self._has_poses else {"has_poses": False}),
        }
        if self._log is None:
            return {"scene": [scene], "log": [], "map": []}
        date = datetime.fromtimestamp(samples[0]["timestamp"] // 1_000_000, UTC).date().isoformat()
        drive = {
            "token": log,
            "logfile": self.name,
            "vehicle": self._log.vehicle,
            "date_captured": date,
            "location": self._log.location,
        }
        base_map = {
            "token": Path(self._log.base_map).stem,
            "category": "semantic_prior",
            "filename": self._log.base_map,
            "log_tokens": [log],
        }
        return {"scene": [scene], "log": [drive], "map": [base_map]}

    def _shared_rows(self) -> dict[str, list[Row]]:
        """Return the rows that scenes share: sensors, calibrations, categories and attributes."""
        sensors = [(camera.channel, "camera") for camera in self.rig.cameras]
        poses = [(camera.channel, camera.ego_from_camera, _optics(camera)) for camera in self.rig.cameras]
        for channel, ego_from_lidar in self.rig.lidars.items():
            sensors.append((channel, "lidar"))
            poses.append((channel, ego_from_lidar, {"camera_intrinsic": []}))
        return {
            "sensor": [
                {"token": token("sensor", channel), "channel": channel, "modality": modality}
                for channel, modality in sensors
            ],
            "calibrated_sensor": [
                {
                    "token": self._calibration_token(channel),
                    "sensor_token": token("sensor", channel),
                    **transform(pose),
                    **optics,
                }
                for channel, pose, optics in poses
            ],
            "category": [named_row("category", name) for name in dict.fromkeys(self._categories.values())],
            "attribute": [named_row("attribute", name) for name in self._attributes],
        }


def _optics(camera: CalibratedCamera) -> Row:
    """Return the fields of intrinsics and lens; a pinhole has no field `lens`, as in nuScenes."""
    intrinsics: Row = {"camera_intrinsic": camera.intrinsics.tolist()}
    return intrinsics if camera.lens == PINHOLE else {**intrinsics, "lens": camera.lens.as_record()}


def named_row(table: str, name: str) -> Row:
    """Return the row of a category or an attribute."""
    return {"token": token(table, name), "name": name, "description": ""}
