"""One scene on disk: what the sensors recorded, the boxes, and the truth that only a made world knows."""

import hashlib
import io
from contextlib import closing
from pathlib import Path

import numpy as np
import orjson

from occfeat.data.formats.nuscenes.writer.rows import token
from occfeat.data.formats.nuscenes.writer.scene import SceneWriter, file_stem
from occfeat.data.formats.nuscenes.writer.values import (
    AnnotatedBox,
    CalibratedCamera,
    CalibratedRig,
    CameraImage,
    EgoPose,
    LidarSweep,
    RecordingLog,
)
from occfeat.machine.atomic import write_bytes_atomic
from streetworld.rendering.labels import Label
from streetworld.rendering.lidar import Sweep
from streetworld.rendering.sensors import Shot
from streetworld.request import SceneRequest
from streetworld.scene import KEY_FRAME_S, Scene, build_scene
from streetworld.things.materials import CLASSES
from streetworld.town.lots import TownRequest
from streetworld.town.towns import TOWNS

VERSION = "v1.0-street"
"""Folder of the tables."""
FIRST_TIME_US = 1_893_456_000_000_000
"""The first scene begins on 1 January 2030: no recording of the past is claimed."""


def write_scene(request: SceneRequest, out: Path) -> None:
    """Make one scene and write it."""
    SceneFiles(build_scene(request), out).write()


def map_file(town: TownRequest) -> str:
    """Return the path of a town's base map."""
    return f"maps/{token('map', town.seed, town.number, town.size)}.png"


def calibrated_rig(request: SceneRequest) -> CalibratedRig:
    """Return the rig as it sits on the vehicle of the town: every town has one, calibrated once."""
    rig = request.mounted_rig()
    name = f"{Path(request.rig).name}/calibration/{request.town.number}"  # of a file, wherever it lies
    cameras = [
        CalibratedCamera(
            camera.channel, camera.ego_from_camera, camera.intrinsics(request.image_size), camera.lens
        )
        for camera in rig.cameras
    ]
    return CalibratedRig(name, cameras, {one.channel: one.ego_from_lidar for one in rig.lidars})


class SceneFiles:
    """Renders a scene and writes it.

    Args:
        scene: The scene.
        out: Folder of the world.
    """

    def __init__(self, scene: Scene, out: Path) -> None:
        self.scene, self.out, self.request = scene, out, scene.request
        digest = hashlib.blake2b(self.request.name.encode(), digest_size=4).digest()
        self._start_us = FIRST_TIME_US + int.from_bytes(digest, "big") % 500_000 * 60_000_000
        town = self.request.town
        light, speed = scene.light_name.replace("_", " "), scene.ego.at(0.0)[3]
        self._writer = SceneWriter(
            out,
            VERSION,
            self.request.name,
            calibrated_rig(self.request),
            namespace=str(town.seed),
            log=RecordingLog(TOWNS[town.number].name, map_file(town), f"{scene.rig.name}-{town.number}"),
            description=f"Street world, {light}, ego at {speed:.0f} m/s",
        )

    def write(self) -> None:
        """Render everything and write it, the rows of the tables last."""
        with closing(self._writer):
            for frame in range(self.request.key_frames):
                self._write_key_frame(frame)
            if self.request.truth:
                self._write_legend()
            self._writer.finish()

    def _write_key_frame(self, frame: int) -> None:
        """Write the sweeps before a key frame, and the key frame."""
        scene, time_s = self.scene, frame * KEY_FRAME_S
        for back in range(-self.request.sweeps if frame else 0, 0):
            swept_s = time_s + back * (1 / self.request.sweep_hz)
            for channel, sweep in self._scan(swept_s).items():
                self._writer.add_sweep(channel, self._pose(swept_s), sweep.points)
        views = [scene.look(camera, frame) for camera in scene.rig.cameras]
        images = {}
        for camera, view in zip(scene.rig.cameras, views, strict=True):
            pose = self._pose(time_s + scene.camera_delay_s(camera))
            images[camera.channel] = CameraImage(view.shot.pixels, pose)
            self._write_image_truth(camera.channel, view.shot, pose.time_us)
        sweeps = self._scan(time_s)
        boxes = [self._box(found, time_s) for found in scene.labels(frame, views, [*sweeps.values()])]
        stored = {channel: LidarSweep(sweep.points) for channel, sweep in sweeps.items()}
        self._writer.add_key_frame(self._pose(time_s), images, stored, boxes)

    def _scan(self, time_s: float) -> dict[str, Sweep]:
        """Turn each LiDAR once, and write the truth about what they see."""
        sweeps = {}
        for number, lidar in enumerate(self.scene.rig.lidars):
            sweeps[lidar.channel] = self.scene.scan(time_s, number)
            self._write_sweep_truth(lidar.channel, sweeps[lidar.channel], time_s)
        return sweeps

    def _time_us(self, time_s: float) -> int:
        """Return the time stamp of a moment of the scene."""
        return self._start_us + round(time_s * 1e6)

    def _pose(self, time_s: float) -> EgoPose:
        """Return the ego pose at a moment of the scene."""
        return EgoPose(self._time_us(time_s), self.scene.global_from_ego(time_s))

    def _box(self, found: Label, time_s: float) -> AnnotatedBox:
        """Return the box of a labelled object."""
        annotation = self.scene.annotations[found.object_id]
        attribute = annotation.attribute
        for mover in self.scene.movers:
            if mover.object_id == found.object_id:
                attribute = mover.attribute(time_s)
        return AnnotatedBox(
            annotation.category,
            str(found.object_id),
            found.center + self.scene.origin_m,
            annotation.size_m,
            found.yaw_rad,
            visibility=found.level,
            lidar_points=found.lidar_points,
            attribute=attribute,
        )

    def _write_image_truth(self, channel: str, shot: Shot, time_us: int) -> None:
        """Write depth, class and object of every pixel, if asked for."""
        if self.request.truth:
            buffer = io.BytesIO()
            np.savez_compressed(
                buffer,
                depth_m=shot.depth_m,
                class_id=shot.class_id,
                object_id=shot.object_id.astype(np.int16),
            )
            name = file_stem(self.request.name, channel, time_us)
            write_bytes_atomic(self.out / "truth" / channel / f"{name}.npz", buffer.getvalue())

    def _write_sweep_truth(self, channel: str, sweep: Sweep, time_s: float) -> None:
        """Write the object of every return, if asked for."""
        if self.request.truth:
            name = file_stem(self.request.name, channel, self._time_us(time_s))
            content = sweep.object_id.astype("<i2").tobytes()
            write_bytes_atomic(self.out / "truth" / channel / f"{name}.bin", content)

    def _write_legend(self) -> None:
        """Write what the numbers in the scene's truth files mean."""
        instances = {
            str(number): self._writer.instance_token(str(number)) for number in self.scene.annotations
        }
        content = orjson.dumps({"classes": CLASSES, "instances": instances})
        write_bytes_atomic(self.out / "truth" / f"{self.request.name}.json", content)
