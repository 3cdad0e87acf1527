"""Camera rigs: where cameras and LiDAR sit on the ego vehicle, and how they are calibrated.

Frames: ego has x forward, y left, z up, origin on the ground below the rear axle; camera has x right, y down,
z forward. A rig is one of `RIGS` or a JSON file (see `custom_rigs`).
"""

import math
from dataclasses import dataclass, field, replace
from functools import lru_cache

import numpy as np
from jaxtyping import Float

from occfeat.geometry.lens import PINHOLE, Lens
from streetworld.optics import Optics, radius

LIDAR = "LIDAR_TOP"
"""Channel of the LiDAR on the roof, which no camera can have."""


@dataclass(frozen=True)
class Camera:
    """A camera as it is mounted."""

    channel: str
    position_m: tuple[float, float, float]
    yaw_deg: float
    """Viewing direction, counter-clockwise from forward."""
    view_deg: float
    """Horizontal angle of view."""
    pitch_deg: float = 0.0
    """Positive looks down."""
    roll_deg: float = 0.0
    size: tuple[float, float] = (1.0, 1.0)
    """Height and width relative to the image size asked for."""
    center: tuple[float, float] = (0.5, 0.5)
    """Principal point (u, v) relative to width and height."""
    lens: Lens = field(default=PINHOLE, repr=False)

    def image_size(self, image_size: tuple[int, int]) -> tuple[int, int]:
        """Return (height, width) in pixels."""
        return round(image_size[0] * self.size[0]), round(image_size[1] * self.size[1])

    def intrinsics(self, image_size: tuple[int, int]) -> Float[np.ndarray, "3 3"]:
        """Return the 3 x 3 matrix for images of the rig's `image_size`; pixels are square at 9:16."""
        height, width = self.image_size(image_size)
        half_rad = math.radians(self.view_deg) / 2
        reach = math.tan(half_rad)
        if self.lens != PINHOLE:
            reach = float(radius(self.lens, np.array([half_rad]))[0])
        focal = width / 2 / reach
        return np.array([[focal, 0, width * self.center[0]], [0, focal, height * self.center[1]], [0, 0, 1]])

    def optics(self, image_size: tuple[int, int]) -> Optics:
        """Return what the pixels of images of the rig's `image_size` look at."""
        return _optics(self, image_size)

    @property
    def ego_from_camera(self) -> Float[np.ndarray, "4 4"]:
        """Camera frame to ego frame."""
        yaw, pitch, roll = (math.radians(angle) for angle in (self.yaw_deg, self.pitch_deg, self.roll_deg))
        turn = _about_z(yaw) @ _about_y(pitch) @ _about_x(roll)
        optical = np.array([[0.0, 0, 1], [-1, 0, 0], [0, -1, 0]])
        pose = np.eye(4)
        pose[:3, :3] = turn @ optical
        pose[:3, 3] = self.position_m
        return pose


@lru_cache(maxsize=32)
def _optics(camera: Camera, image_size: tuple[int, int]) -> Optics:
    """Return the optics of a camera. They are kept, because inverting a lens for all pixels takes a while."""
    return Optics(camera.intrinsics(image_size), camera.lens, camera.image_size(image_size))


@dataclass(frozen=True)
class Lidar:
    """A LiDAR as it is mounted. Its frame has x to the right and y forward, as on nuScenes."""

    channel: str
    position_m: tuple[float, float, float]
    yaw_deg: float = 0.0
    """Where it is turned to, counter-clockwise from forward."""

    @property
    def ego_from_lidar(self) -> Float[np.ndarray, "4 4"]:
        """LiDAR frame to ego frame."""
        pose = np.eye(4)
        pose[:3, :3] = _about_z(math.radians(self.yaw_deg) - math.pi / 2)
        pose[:3, 3] = self.position_m
        return pose


@dataclass(frozen=True)
class Rig:
    """All sensors of a vehicle."""

    name: str
    cameras: tuple[Camera, ...]
    lidar_m: tuple[float, float, float]
    """Where the LiDAR on the roof sits."""
    more_lidars: tuple[Lidar, ...] = ()

    @property
    def lidars(self) -> tuple[Lidar, ...]:
        """All LiDARs, that on the roof first."""
        return (Lidar(LIDAR, self.lidar_m), *self.more_lidars)

    def calibrated(self, rng: np.random.Generator) -> "Rig":
        """Return the rig as it was mounted on one vehicle: a little off everywhere."""
        cameras = []
        for camera in self.cameras:
            shift = rng.normal(0, 0.012, 3)
            turns = rng.normal(0, 0.35, 3)
            x, y, z = (float(a + b) for a, b in zip(camera.position_m, shift, strict=True))
            u, v = (float(c + d) for c, d in zip(camera.center, rng.normal(0, 0.006, 2), strict=True))
            cameras.append(
                replace(
                    camera, position_m=(x, y, z), yaw_deg=camera.yaw_deg + float(turns[0]),
                    pitch_deg=camera.pitch_deg + float(turns[1]), roll_deg=camera.roll_deg + float(turns[2]),
                    view_deg=camera.view_deg * float(1 + rng.normal(0, 0.003)), center=(u, v),
                )
            )  # fmt: skip
        return replace(self, cameras=tuple(cameras))


FISHEYE = Lens("kannala_brandt", (-0.01, 0.0, 0.0, -0.0008))
"""Sees 104.8 degrees away from its axis."""
BARREL = Lens("brown_conrady", (-0.32, 0.12, 0.0006, -0.0004, -0.02))
"""Sees 58.8 degrees away from its axis."""


def _around(
    name: str, position_m: tuple[float, float, float], yaw_deg: float, pitch_deg: float
) -> tuple[Camera, Camera]:
    """Return two pinhole cameras that see together what a fisheye camera sees."""
    left, right = (
        Camera(f"CAM_{name}_{side}", position_m, yaw_deg + turn_deg, 100.0, pitch_deg, size=(1.0, 0.55))
        for side, turn_deg in (("LEFT", 47.5), ("RIGHT", -47.5))
    )
    return left, right


NUSCENES = Rig(
    "nuscenes",
    (
        Camera("CAM_FRONT", (1.70, 0.01, 1.51), 0.0, 64.8, center=(0.512, 0.54)),
        Camera("CAM_FRONT_RIGHT", (1.55, -0.49, 1.50), -56.0, 64.8, center=(0.507, 0.54)),
        Camera("CAM_BACK_RIGHT", (1.03, -0.48, 1.56), -110.0, 64.8, center=(0.508, 0.54)),
        Camera("CAM_BACK", (0.03, 0.0, 1.58), 180.0, 89.4, center=(0.52, 0.535)),
        Camera("CAM_BACK_LEFT", (1.04, 0.48, 1.58), 108.0, 64.8, center=(0.505, 0.54)),
        Camera("CAM_FRONT_LEFT", (1.52, 0.49, 1.51), 55.0, 64.8, center=(0.513, 0.535)),
    ),
    (0.94, 0.0, 1.84),
)

RIGS: dict[str, Rig] = {
    "nuscenes": NUSCENES,
    "wide5": Rig(
        "wide5",
        (
            Camera("CAM_FRONT", (1.55, 0.0, 1.35), 0.0, 95.0),
            Camera("CAM_RIGHT", (0.9, -0.85, 1.15), -78.0, 105.0, pitch_deg=4.0),
            Camera("CAM_BACK_RIGHT", (-0.3, -0.7, 1.3), -142.0, 90.0, size=(0.8, 0.8)),
            Camera("CAM_BACK_LEFT", (-0.3, 0.7, 1.3), 142.0, 90.0, size=(0.8, 0.8)),
            Camera("CAM_LEFT", (0.9, 0.85, 1.15), 78.0, 105.0, pitch_deg=4.0),
        ),
        (0.7, 0.0, 1.75),
    ),
    "truck8": Rig(
        "truck8",
        (
            Camera("CAM_FRONT", (3.6, 0.0, 2.55), 0.0, 60.0, pitch_deg=3.0),
            Camera("CAM_FRONT_TELE", (3.6, 0.1, 2.6), 0.0, 30.0, pitch_deg=1.0),
            Camera("CAM_FRONT_RIGHT", (3.4, -1.1, 2.4), -52.0, 70.0, pitch_deg=5.0),
            Camera("CAM_RIGHT", (2.4, -1.2, 2.3), -92.0, 80.0, pitch_deg=8.0, size=(0.9, 0.9)),
            Camera("CAM_BACK_RIGHT", (3.0, -1.3, 2.3), -150.0, 55.0, pitch_deg=6.0, size=(1.0, 0.7)),
            Camera("CAM_BACK_LEFT", (3.0, 1.3, 2.3), 150.0, 55.0, pitch_deg=6.0, size=(1.0, 0.7)),
            Camera("CAM_LEFT", (2.4, 1.2, 2.3), 92.0, 80.0, pitch_deg=8.0, size=(0.9, 0.9)),
            Camera("CAM_FRONT_LEFT", (3.4, 1.1, 2.4), 52.0, 70.0, pitch_deg=5.0),
        ),
        (2.9, 0.0, 3.05),
    ),
    "fisheye4": Rig(
        "fisheye4",
        (
            Camera("CAM_FRONT", (3.6, 0.0, 0.7), 0.0, 190.0, 12.0, size=(1.0, 0.75), lens=FISHEYE),
            Camera("CAM_LEFT", (1.9, 0.95, 1.05), 90.0, 190.0, 20.0, size=(1.0, 0.75), lens=FISHEYE),
            Camera("CAM_BACK", (-0.9, 0.0, 0.9), 180.0, 190.0, 12.0, size=(1.0, 0.75), lens=FISHEYE),
            Camera("CAM_RIGHT", (1.9, -0.95, 1.05), -90.0, 190.0, 20.0, size=(1.0, 0.75), lens=FISHEYE),
        ),
        (0.94, 0.0, 1.84),
    ),
    "pinhole8": Rig(
        "pinhole8",
        (
            *_around("FRONT", (3.6, 0.0, 0.7), 0.0, 12.0),
            *_around("LEFT", (1.9, 0.95, 1.05), 90.0, 20.0),
            *_around("BACK", (-0.9, 0.0, 0.9), 180.0, 12.0),
            *_around("RIGHT", (1.9, -0.95, 1.05), -90.0, 20.0),
        ),
        (0.94, 0.0, 1.84),
    ),
    "lidars3": replace(
        NUSCENES,
        name="lidars3",
        more_lidars=(
            Lidar("LIDAR_LEFT", (3.5, 0.85, 0.75), 60.0),
            Lidar("LIDAR_RIGHT", (3.5, -0.85, 0.75), -60.0),
        ),
    ),
    "raw6": replace(
        NUSCENES, name="raw6", cameras=tuple(replace(camera, lens=BARREL) for camera in NUSCENES.cameras)
    ),
}
"""Rigs by name.

One is like nuScenes', one is the same with lenses that distort, as images are in recordings before they are
rectified, and one the same with two more LiDARs at the corners of the bumper. Others have five wide cameras
on a car, eight cameras high on a truck, four fisheye cameras low on a car, and two pinholes in place of each.
"""


def _about_x(angle: float) -> Float[np.ndarray, "3 3"]:
    """Return the rotation about x by an angle in radians."""
    c, s = math.cos(angle), math.sin(angle)
    return np.array([[1, 0, 0], [0, c, -s], [0, s, c]])


def _about_y(angle: float) -> Float[np.ndarray, "3 3"]:
    """Return the rotation about y by an angle in radians."""
    c, s = math.cos(angle), math.sin(angle)
    return np.array([[c, 0, s], [0, 1, 0], [-s, 0, c]])


def _about_z(angle: float) -> Float[np.ndarray, "3 3"]:
    """Return the rotation about z by an angle in radians."""
    c, s = math.cos(angle), math.sin(angle)
    return np.array([[c, -s, 0], [s, c, 0], [0, 0, 1]])
