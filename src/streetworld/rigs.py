"""Camera rigs: where cameras and LiDAR sit on the ego vehicle, and how they are calibrated.

Frames: ego has x forward, y left, z up, origin on the ground below the rear axle; camera has x right, y down,
z forward. A rig is one of `RIGS` or a JSON file (see `load_rig`).
"""

import json
import math
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated

import numpy as np
from jaxtyping import Float
from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError

from occfeat.errors import SettingsError

LIDAR = "LIDAR_TOP"
"""Channel of the LiDAR, which no camera can have."""


@dataclass(frozen=True)
class Camera:
    """A pinhole camera as it is mounted."""

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

    def image_size(self, image_size: tuple[int, int]) -> tuple[int, int]:
        """Return (height, width) in pixels."""
        return round(image_size[0] * self.size[0]), round(image_size[1] * self.size[1])

    def intrinsics(self, image_size: tuple[int, int]) -> Float[np.ndarray, "3 3"]:
        """Return the pinhole matrix for images of the rig's `image_size`; pixels are square at 9:16."""
        height, width = self.image_size(image_size)
        focal = width / 2 / math.tan(math.radians(self.view_deg) / 2)
        return np.array([[focal, 0, width * self.center[0]], [0, focal, height * self.center[1]], [0, 0, 1]])

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


@dataclass(frozen=True)
class Rig:
    """All sensors of a vehicle."""

    name: str
    cameras: tuple[Camera, ...]
    lidar_m: tuple[float, float, float]
    """Where the LiDAR sits. Its frame has x to the right and y forward, as on nuScenes."""

    @property
    def ego_from_lidar(self) -> Float[np.ndarray, "4 4"]:
        """LiDAR frame to ego frame."""
        pose = np.eye(4)
        pose[:3, :3] = _about_z(-math.pi / 2)
        pose[:3, 3] = self.lidar_m
        return pose

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


RIGS: dict[str, Rig] = {
    "nuscenes": Rig(
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
    ),
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
}
"""Rigs by name: one like nuScenes', five wide cameras on a car, eight cameras high on a truck."""


_PositionM = Annotated[float, Field(ge=-50, le=50)]
_AngleDeg = Annotated[float, Field(ge=-360, le=360)]
_Scale = Annotated[float, Field(gt=0, le=10)]
_Share = Annotated[float, Field(ge=-1, le=2)]


def _is_of_a_camera(channel: str) -> str:
    """Refuse a channel that is not the name of a camera."""
    if channel.upper() == LIDAR:
        raise ValueError("this is the channel of the LiDAR")
    return channel


class _CameraFile(BaseModel):
    """A camera as a rig file describes it."""

    model_config = ConfigDict(extra="forbid", allow_inf_nan=False)

    channel: Annotated[str, Field(pattern=r"^[A-Za-z0-9_]{1,40}$"), AfterValidator(_is_of_a_camera)]
    position_m: tuple[_PositionM, _PositionM, _PositionM]
    yaw_deg: _AngleDeg
    view_deg: Annotated[float, Field(ge=5, le=150)]
    pitch_deg: _AngleDeg = 0.0
    roll_deg: _AngleDeg = 0.0
    size: tuple[_Scale, _Scale] = (1.0, 1.0)
    center: tuple[_Share, _Share] = (0.5, 0.5)


class _RigFile(BaseModel):
    """A rig file."""

    model_config = ConfigDict(extra="forbid", allow_inf_nan=False)

    cameras: tuple[_CameraFile, ...]
    lidar_m: tuple[_PositionM, _PositionM, _PositionM] = (0.94, 0.0, 1.84)


def load_rig(name: str) -> Rig:
    """Load a rig by its name in `RIGS`, or from a JSON file.

    The file holds `cameras` (fields of `Camera`) and `lidar_m`.

    Raises:
        SettingsError: There is no such rig, or the file does not describe one.
    """
    if name in RIGS:
        return RIGS[name]
    path = Path(name)
    if path.suffix != ".json" or not path.is_file():
        raise SettingsError(
            f"There is no rig named {name!r}.",
            hint=f"Choose one of {', '.join(RIGS)}, or give the path of a .json file that describes one.",
        )
    try:
        described = _RigFile.model_validate(json.loads(path.read_text(encoding="utf-8")))
    except (ValidationError, ValueError, RecursionError, OSError) as error:
        problem = error.errors()[0] if isinstance(error, ValidationError) else {"loc": (), "msg": str(error)}
        where = ".".join(map(str, problem["loc"])) or "file"
        raise SettingsError(
            f"The rig file {path} is not usable: {where}: {problem['msg']}.",
            hint="It needs a list `cameras` with `channel`, `position_m`, `yaw_deg` and `view_deg` each.",
        ) from error
    if not described.cameras:
        raise SettingsError(
            f"The rig file {path} has no cameras.",
            hint="Give it at least one, with `channel`, `position_m`, `yaw_deg` and `view_deg`.",
        )
    channels = [camera.channel for camera in described.cameras]
    if len(set(channels)) < len(channels):
        raise SettingsError(
            f"The rig file {path} has two cameras of the same channel.",
            first=sorted(channels),
            hint="Give each camera a channel of its own.",
        )
    cameras = tuple(Camera(**camera.model_dump()) for camera in described.cameras)
    return Rig(path.stem, cameras, described.lidar_m)


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
