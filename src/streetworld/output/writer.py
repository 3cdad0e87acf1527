"""One scene on disk: images, LiDAR files, and the rows of nuScenes' tables that tell of them.

A scene's rows are kept in one JSON file, which is written last: a scene without it is made again.
"""

import hashlib
import io
import math
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import orjson
from jaxtyping import UInt8
from PIL import Image

from occfeat.atomic import write_atomic
from streetworld.output.rows import Row, calibration_token, link, quaternion, token
from streetworld.rendering.labels import Label, View
from streetworld.rendering.lidar import Sweep
from streetworld.request import SceneRequest
from streetworld.rigs import LIDAR, Camera
from streetworld.scene import KEY_FRAME_S, REVOLUTION_S, Scene, build_scene
from streetworld.things.materials import CLASSES
from streetworld.town.towns import TOWNS

SCENES = ".scenes"
"""Folder that only an unfinished world has: the rows of its finished scenes, and a lock."""
JPEG_QUALITY = 92
FIRST_TIME_US = 1_893_456_000_000_000
"""The first scene begins on 1 January 2030: no recording of the past is claimed."""


def write_bytes(path: Path, content: bytes) -> None:
    """Write a file completely or not at all.

    Raises:
        RunError: It cannot be written, for lack of space or rights.
    """
    write_atomic(path, lambda temporary: temporary.write_bytes(content))


def jpeg(pixels: UInt8[np.ndarray, "H W 3"]) -> bytes:
    """An image as JPEG."""
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, format="JPEG", quality=JPEG_QUALITY, subsampling=0)
    return buffer.getvalue()


class SceneWriter:
    """Renders a scene and collects its table rows."""

    def __init__(self, scene: Scene, out: Path) -> None:
        self.scene = scene
        self.out = out
        self.town = TOWNS[scene.request.town.number]
        self._key = (scene.request.town.seed, scene.request.name)
        digest = hashlib.blake2b(scene.request.name.encode(), digest_size=4).digest()
        self._start_us = FIRST_TIME_US + int.from_bytes(digest, "big") % 500_000 * 60_000_000
        self.rows: dict[str, list[Row]] = {
            name: []
            for name in ("scene", "log", "sample", "sample_data", "ego_pose", "sample_annotation", "instance")
        }

    def write(self) -> dict[str, list[Row]]:
        """Render everything, write the files and return the rows of all tables."""
        count = self.scene.request.key_frames
        samples = [token(*self._key, "sample", frame) for frame in range(count)]
        for frame in range(count):
            self.rows["sample"].append(
                {
                    "token": samples[frame],
                    "timestamp": self._time_us(frame * KEY_FRAME_S),
                    "prev": samples[frame - 1] if frame else "",
                    "next": samples[frame + 1] if frame + 1 < count else "",
                    "scene_token": token(*self._key, "scene"),
                }
            )
            self._write_key_frame(frame, samples[frame])
        self._link_data()
        self._link_annotations()
        self._describe(samples)
        if self.scene.request.truth:
            self._write_legend()
        return self.rows

    def _write_legend(self) -> None:
        """What the numbers in the scene's truth files mean."""
        request = self.scene.request
        instances = {str(number): token(*self._key, "instance", number) for number in self.scene.annotations}
        legend = {"classes": CLASSES, "instances": instances}
        write_bytes(self.out / "truth" / f"{request.name}.json", orjson.dumps(legend))

    def _time_us(self, time_s: float) -> int:
        return self._start_us + round(time_s * 1e6)

    def _date(self) -> str:
        """Day on which the scene begins, UTC."""
        return datetime.fromtimestamp(self._start_us // 1_000_000, UTC).date().isoformat()

    def _write_key_frame(self, frame: int, sample: str) -> None:
        scene = self.scene
        time_s = frame * KEY_FRAME_S
        first = -scene.request.sweeps if frame else 0
        for back in range(first, 0):
            self._write_sweep(
                scene.scan(time_s + back * REVOLUTION_S), time_s + back * REVOLUTION_S, sample, False
            )
        views = []
        for camera in scene.rig.cameras:
            view = scene.look(camera, frame)
            views.append(view)
            self._write_image(camera, view, time_s + scene.camera_delay_s(camera), sample)
        sweep = scene.scan(time_s)
        self._write_sweep(sweep, time_s, sample, True)
        self.rows["sample_annotation"] += [
            self._annotation(found, frame, sample) for found in scene.labels(frame, views, sweep)
        ]

    def _write_image(self, camera: Camera, view: View, time_s: float, sample: str) -> None:
        name = self._file_name(camera.channel, time_s)
        path = f"samples/{camera.channel}/{name}.jpg"
        write_bytes(self.out / path, jpeg(view.shot.pixels))
        height, width = view.shot.depth_m.shape
        self._add_data(camera.channel, path, time_s, sample, True, "jpg", (height, width))
        if self.scene.request.truth:
            buffer = io.BytesIO()
            np.savez_compressed(
                buffer,
                depth_m=view.shot.depth_m,
                class_id=view.shot.class_id,
                object_id=view.shot.object_id.astype(np.int16),
            )
            write_bytes(self.out / f"truth/{camera.channel}/{name}.npz", buffer.getvalue())

    def _write_sweep(self, sweep: Sweep, time_s: float, sample: str, key_frame: bool) -> None:
        name = self._file_name(LIDAR, time_s)
        path = f"{'samples' if key_frame else 'sweeps'}/{LIDAR}/{name}.pcd.bin"
        write_bytes(self.out / path, sweep.points.astype("<f4").tobytes())
        self._add_data(LIDAR, path, time_s, sample, key_frame, "pcd", (0, 0))
        if self.scene.request.truth:
            write_bytes(self.out / f"truth/{LIDAR}/{name}.bin", sweep.object_id.astype("<i2").tobytes())

    def _file_name(self, channel: str, time_s: float) -> str:
        return f"{self.scene.request.name}__{channel}__{self._time_us(time_s)}"

    def _add_data(
        self,
        channel: str,
        path: str,
        time_s: float,
        sample: str,
        key_frame: bool,
        fileformat: str,
        size: tuple[int, int],
    ) -> None:
        number = token(*self._key, "data", channel, self._time_us(time_s))
        pose = self.scene.global_from_ego(time_s)
        self.rows["ego_pose"].append(
            {
                "token": number,
                "timestamp": self._time_us(time_s),
                "rotation": quaternion(pose[:3, :3]),
                "translation": [float(part) for part in pose[:3, 3]],
            }
        )
        self.rows["sample_data"].append(
            {
                "token": number,
                "sample_token": sample,
                "ego_pose_token": number,
                "calibrated_sensor_token": calibration_token(self.scene.request, channel),
                "timestamp": self._time_us(time_s),
                "fileformat": fileformat,
                "is_key_frame": key_frame,
                "height": size[0],
                "width": size[1],
                "filename": path,
                "prev": "",
                "next": "",
            }
        )

    def _annotation(self, found: Label, frame: int, sample: str) -> Row:
        scene = self.scene
        annotation = scene.annotations[found.object_id]
        length, width, height = annotation.size_m
        center = found.center + scene.origin_m
        half = found.yaw_rad / 2
        attribute = annotation.attribute
        for mover in scene.movers:
            if mover.object_id == found.object_id:
                attribute = mover.attribute(frame * KEY_FRAME_S)
        return {
            "token": token(*self._key, "annotation", found.object_id, frame),
            "sample_token": sample,
            "instance_token": token(*self._key, "instance", found.object_id),
            "visibility_token": str(found.level),
            "attribute_tokens": [token("attribute", attribute)] if attribute else [],
            "translation": [float(part) for part in center],
            "size": [width, length, height],
            "rotation": [math.cos(half), 0.0, 0.0, math.sin(half)],
            "prev": "",
            "next": "",
            "num_lidar_pts": found.lidar_points,
            "num_radar_pts": 0,
            "_object": found.object_id,
        }

    def _link_data(self) -> None:
        """Chain the records of every sensor in time."""
        chains: dict[str, list[Row]] = {}
        for row in self.rows["sample_data"]:
            chains.setdefault(row["calibrated_sensor_token"], []).append(row)
        for chain in chains.values():
            link(sorted(chain, key=lambda row: int(row["timestamp"])))

    def _link_annotations(self) -> None:
        """Chain the boxes of every object in time, and list the objects."""
        chains: dict[int, list[Row]] = {}
        for row in self.rows["sample_annotation"]:
            chains.setdefault(row.pop("_object"), []).append(row)
        for number, chain in chains.items():
            link(chain)
            self.rows["instance"].append(
                {
                    "token": chain[0]["instance_token"],
                    "category_token": token("category", self.scene.annotations[number].category),
                    "nbr_annotations": len(chain),
                    "first_annotation_token": chain[0]["token"],
                    "last_annotation_token": chain[-1]["token"],
                }
            )

    def _describe(self, samples: list[str]) -> None:
        request = self.scene.request
        log = token(*self._key, "log")
        speed = self.scene.ego.at(0.0)[3]
        light = self.scene.light_name.replace("_", " ")
        self.rows["scene"].append(
            {
                "token": token(*self._key, "scene"),
                "log_token": log,
                "nbr_samples": len(samples),
                "first_sample_token": samples[0],
                "last_sample_token": samples[-1],
                "name": request.name,
                "description": f"Street world, {light}, ego at {speed:.0f} m/s",
            }
        )
        self.rows["log"].append(
            {
                "token": log,
                "logfile": request.name,
                "vehicle": f"{self.scene.rig.name}-{request.town.number}",
                "date_captured": self._date(),
                "location": self.town.name,
            }
        )


def write_scene(request: SceneRequest, out: Path) -> None:
    """Make one scene and write it."""
    rows = SceneWriter(build_scene(request), out).write()
    write_bytes(rows_file(out, request.name), orjson.dumps(rows))


def rows_file(out: Path, name: str) -> Path:
    """Where the rows of a finished scene are kept until the tables are written."""
    return out / SCENES / f"{name}.json"
