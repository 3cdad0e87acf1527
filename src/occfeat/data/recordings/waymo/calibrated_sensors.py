"""The calibrated cameras and LiDARs of a segment.

Frames: vehicle has x forward, y left, z up. Waymo's camera frame has x forward, y left and z up, too.
"""

import numpy as np

from occfeat.data.formats.nuscenes.writer.values import CalibratedCamera, CalibratedRig
from occfeat.data.recordings.waymo.component import Component
from occfeat.data.recordings.waymo.range_image import Laser
from occfeat.data.recordings.waymo.sensors import CAMERAS, LASERS, TOP, channel
from occfeat.errors import DatasetError
from occfeat.geometry.lens import PINHOLE, Lens

CAMERA_FROM_OPTICAL = np.array([[0.0, 0, 1, 0], [-1, 0, 0, 0], [0, -1, 0, 0], [0, 0, 0, 1]])
"""From x right, y down, z forward to x forward, y left, z up."""
_INTRINSICS = ("f_u", "f_v", "c_u", "c_v")
_DISTORTION = ("k1", "k2", "p1", "p2", "k3")


def read_cameras(calibration: Component) -> list[CalibratedCamera]:
    """Return the cameras. Their lens is Brown-Conrady with k1, k2, p1, p2 and k3, OpenCV's order.

    Raises:
        DatasetError: The component is damaged, or a calibration is impossible.
    """
    extrinsics = "extrinsic.transform"
    names = [f"intrinsic.{name}" for name in (*_INTRINSICS, *_DISTORTION)]
    rows = calibration.read(("key.camera_name", *names, extrinsics))
    numbers = np.stack([rows.numbers(name) for name in names], axis=1)
    vehicle_from_camera = rows.vectors(extrinsics, 16).reshape(-1, 4, 4)
    cameras = []
    for name, own, pose in zip(rows.texts("key.camera_name"), numbers, vehicle_from_camera, strict=True):
        f_u, f_v, c_u, c_v = own[:4]
        intrinsics = np.array([[f_u, 0, c_u], [0, f_v, c_v], [0, 0, 1]])
        lens = Lens("brown_conrady", tuple(own[4:].tolist())) if own[4:].any() else PINHOLE
        ego_from_camera = pose @ CAMERA_FROM_OPTICAL
        cameras.append(CalibratedCamera(channel("CAM", name, CAMERAS), ego_from_camera, intrinsics, lens))
    return cameras


def read_lasers(calibration: Component) -> dict[str, Laser]:
    """Return the LiDARs by channel, the one on the roof first.

    Raises:
        DatasetError: The component is damaged, or there is none on the roof.
    """
    limits, values = ("beam_inclination.min", "beam_inclination.max"), "beam_inclination.values"
    rows = calibration.read(("key.laser_name", "extrinsic.transform", *limits, values))
    names = [channel("LIDAR", name, LASERS) for name in rows.texts("key.laser_name")]
    vehicle_from_laser = rows.vectors("extrinsic.transform", 16).reshape(-1, 4, 4)
    low_rad, high_rad = (rows.numbers(name) for name in limits)
    lasers = {
        name: Laser(name, vehicle_from_laser[i], (low_rad[i], high_rad[i]), rows.row(i).one_list(values))
        for i, name in enumerate(names)
    }
    if TOP not in lasers or len(lasers) < len(names):
        hint = "Download the component lidar_calibration again."
        raise DatasetError(f"{rows.where}: expected the LiDAR TOP once, got {', '.join(names)}.", hint=hint)
    return {name: lasers[name] for name in sorted(lasers, key=lambda name: name != TOP)}


def make_rig(name: str, cameras: list[CalibratedCamera], lasers: dict[str, Laser]) -> CalibratedRig:
    """Return the rig of a segment, which is calibrated on its own."""
    return CalibratedRig(name, cameras, {laser.channel: laser.ego_from_laser for laser in lasers.values()})
