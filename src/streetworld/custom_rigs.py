"""Rigs by name or from a JSON file."""

import json
import math
from pathlib import Path
from typing import Annotated, Any

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    ValidationError,
    model_validator,
)

from occfeat.errors import LensError, SettingsError
from occfeat.geometry.lens import PINHOLE, Lens, parse_lens
from streetworld.optics import limit_rad
from streetworld.rigs import LIDAR, RIGS, Camera, Lidar, Rig

WIDEST_DEG = 150.0
"""Largest angle of view of a pinhole or Brown-Conrady camera."""

_PositionM = Annotated[float, Field(ge=-50, le=50)]
_AngleDeg = Annotated[float, Field(ge=-360, le=360)]
_Scale = Annotated[float, Field(gt=0, le=10)]
_Share = Annotated[float, Field(ge=-1, le=2)]


def _is_not_on_the_roof(channel: str) -> str:
    """Refuse the channel of the LiDAR on the roof."""
    if channel.upper() == LIDAR:
        raise ValueError("this is the channel of the LiDAR on the roof")
    return channel


def _read_lens(record: Any) -> Lens:
    """Return the lens that a file describes."""
    try:
        return parse_lens(record)
    except LensError as error:
        raise ValueError(error.message.rstrip(".")) from error


class _CameraFile(BaseModel):
    """A camera as a rig file describes it."""

    model_config = ConfigDict(extra="forbid", allow_inf_nan=False)

    channel: Annotated[str, Field(pattern=r"^[A-Za-z0-9_]{1,40}$"), AfterValidator(_is_not_on_the_roof)]
    position_m: tuple[_PositionM, _PositionM, _PositionM]
    yaw_deg: _AngleDeg
    view_deg: Annotated[float, Field(ge=5, le=190)]
    pitch_deg: _AngleDeg = 0.0
    roll_deg: _AngleDeg = 0.0
    size: tuple[_Scale, _Scale] = (1.0, 1.0)
    center: tuple[_Share, _Share] = (0.5, 0.5)
    lens: Annotated[Lens, BeforeValidator(_read_lens)] = PINHOLE

    @model_validator(mode="after")
    def _can_see(self) -> "_CameraFile":
        """Refuse a view that is wider than the lens's."""
        widest_deg = WIDEST_DEG
        if self.lens != PINHOLE:
            limit_deg = 2 * math.degrees(limit_rad(self.lens))
            widest_deg = limit_deg if self.lens.is_fisheye else min(WIDEST_DEG, limit_deg)
        if self.view_deg > widest_deg:
            raise ValueError(
                f"expected a view_deg that the lens can see, up to {widest_deg:.1f}, got {self.view_deg:g}"
            )
        return self


class _LidarFile(BaseModel):
    """A LiDAR as a rig file describes it."""

    model_config = ConfigDict(extra="forbid", allow_inf_nan=False)

    channel: Annotated[str, Field(pattern=r"^[A-Za-z0-9_]{1,40}$"), AfterValidator(_is_not_on_the_roof)]
    position_m: tuple[_PositionM, _PositionM, _PositionM]
    yaw_deg: _AngleDeg = 0.0


class _RigFile(BaseModel):
    """A rig file."""

    model_config = ConfigDict(extra="forbid", allow_inf_nan=False)

    cameras: tuple[_CameraFile, ...]
    lidar_m: tuple[_PositionM, _PositionM, _PositionM] = (0.94, 0.0, 1.84)
    more_lidars: tuple[_LidarFile, ...] = ()


def load_rig(name: str) -> Rig:
    """Load a rig by its name in `RIGS`, or from a JSON file.

    The file holds `cameras` (fields of `Camera`), `lidar_m` and `more_lidars` (fields of `Lidar`).

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
        described = _RigFile.model_validate(json.loads(path.read_text(encoding="utf-8-sig")))
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
    channels += [lidar.channel for lidar in described.more_lidars]
    if len(set(channels)) < len(channels):
        raise SettingsError(
            f"The rig file {path} has two sensors of the same channel.",
            first=sorted(channels),
            hint="Give each camera and LiDAR a channel of its own.",
        )
    cameras = tuple(Camera(**dict(camera)) for camera in described.cameras)
    more_lidars = tuple(Lidar(**dict(lidar)) for lidar in described.more_lidars)
    return Rig(path.stem, cameras, described.lidar_m, more_lidars)
