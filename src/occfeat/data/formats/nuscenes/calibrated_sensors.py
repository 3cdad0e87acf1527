"""The calibrated sensors of a data set: kind, channel, pose and intrinsics."""

import math
import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Bool, Float64, Int64
from numpy import ndarray

from occfeat.data.formats.nuscenes.dialect import NUSCENES, Dialect
from occfeat.data.formats.nuscenes.json_tables import Record, texts, vectors
from occfeat.data.formats.nuscenes.tables import Tables, dangling, repeated
from occfeat.data.source.faults import Fault
from occfeat.data.source.tables import is_pose
from occfeat.errors import LensError, UnusableSetError
from occfeat.geometry.lens import PINHOLE, Lens, parse_lens
from occfeat.geometry.pinhole import is_pinhole

REFERENCE = "LIDAR_TOP"
"""The LiDAR whose time is the key frame's; without it, the first by name."""

_MEANT = re.compile(r"cam|li-?dar")
"""What stands in the name or modality of a sensor that is a camera or a LiDAR."""

OTHER, CAMERA, LIDAR, UNKNOWN = range(4)
"""Kinds of sensor; unknown if a record dangles."""


@dataclass(frozen=True)
class Rig:
    """Calibrated sensors; `kind` and `number` have one extra entry, for unknown tokens."""

    position: dict[str, int]
    """Index of each token in the arrays below."""
    tokens: list[str]
    kind: Int64[ndarray, " m"]
    number: Int64[ndarray, " m"]
    """Index of a camera in `channels`, of a LiDAR in `lidars`; -1 for other sensors."""
    channels: tuple[str, ...]
    """Camera names, clockwise from the front."""
    lidars: tuple[str, ...]
    """LiDAR names, the reference first."""
    pose: Float64[ndarray, "n 7"]
    """Sensor frame to ego frame: translation in metres, quaternion w, x, y, z."""
    intrinsics: Float64[ndarray, "n 9"]
    lens: Int64[ndarray, " n"]
    """Index of each sensor's lens in `lenses`."""
    lenses: tuple[Lens, ...]
    faults: dict[int, Fault]
    """Faults of unusable calibrations, by index."""


def read_rig(tables: Tables, dialect: Dialect = NUSCENES) -> Rig:
    """Return the sensors and their calibrations."""
    sensors = _sensors(tables)
    records = tables.records("calibrated_sensor")
    tokens, sensor_tokens = texts(records, "token"), texts(records, "sensor_token")
    pose = np.hstack((vectors(records, "translation", 3), vectors(records, "rotation", 4)))
    intrinsics = np.array([_matrix(record.get("camera_intrinsic")) for record in records]).reshape(-1, 9)
    seen = [sensors.get(token, ("", UNKNOWN)) for token in sensor_tokens]
    kind = np.array([kind for _, kind in seen] + [UNKNOWN], dtype=np.int64)
    usable, pinhole = is_pose(pose), is_pinhole(intrinsics.reshape(-1, 3, 3))
    faults = {}
    unclear, unclear_sensors = tables.ambiguous("calibrated_sensor"), tables.ambiguous("sensor")
    for i, (token, sensor_token) in enumerate(zip(tokens, sensor_tokens, strict=True)):
        if token in unclear:
            faults[i] = repeated("calibrated_sensor", token, differ=True)
        elif sensor_token in unclear_sensors:
            faults[i] = repeated("sensor", sensor_token, differ=True)
        elif kind[i] == UNKNOWN:
            faults[i] = dangling("calibrated_sensor", token, "sensor", sensor_token)
        elif not usable[i]:
            faults[i] = Fault("impossible pose", f"calibrated_sensor.json: record {token} has no usable pose")
        elif kind[i] == CAMERA and not pinhole[i]:
            what = (
                f"calibrated_sensor.json: record {token} ({seen[i][0]}) has intrinsics that are not "
                f"[[fx, 0, cx], [0, fy, cy], [0, 0, 1]]: {records[i].get('camera_intrinsic')!s:.200}"
            )
            faults[i] = Fault("singular intrinsics", what)
    lens, lenses = _read_lenses(records, [name for name, _ in seen], dialect, faults)
    cameras = [(name if kind == CAMERA else "") for name, kind in seen]
    channels = _clockwise(cameras, pose, usable)
    lidars = order_lidars(name for name, kind in seen if kind == LIDAR)
    rank = {(CAMERA, name): number for number, name in enumerate(channels)}
    rank |= {(LIDAR, name): number for number, name in enumerate(lidars)}
    number = np.array([rank.get((kind, name), -1) for name, kind in [*seen, ("", UNKNOWN)]], dtype=np.int64)
    return Rig(
        {t: i for i, t in enumerate(tokens)},
        tokens,
        kind,
        number,
        channels,
        lidars,
        pose,
        intrinsics,
        lens,
        lenses,
        faults,
    )


def order_lidars(names: Iterable[str]) -> tuple[str, ...]:
    """Return LiDAR names without duplicates: the reference first, then by name."""
    return tuple(sorted(set(names), key=lambda name: (name != REFERENCE, name)))


def _read_lenses(
    records: list[Record], channels: list[str], dialect: Dialect, faults: dict[int, Fault]
) -> tuple[Int64[ndarray, " n"], tuple[Lens, ...]]:
    """Return the index of each calibration's lens, and the lenses; impossible ones become faults.

    nuScenes has no lenses. The optional field `lens` of this project holds model and coefficients.
    """
    lenses: dict[Lens, int] = {PINHOLE: 0}
    number = np.zeros(len(records), dtype=np.int64)
    for i, record in enumerate(records):
        try:
            number[i] = lenses.setdefault(_lens_of(record, dialect), len(lenses))
        except LensError as error:
            what = f"calibrated_sensor.json: record {record['token']} ({channels[i]}): {error.message}"
            faults.setdefault(i, Fault("impossible lens", what))
    return number, tuple(lenses)


def _lens_of(record: Record, dialect: Dialect) -> Lens:
    """Return the lens of a calibration."""
    if record.get("lens") is not None:
        return parse_lens(record["lens"])
    coefficients = record.get("camera_distortion") if dialect.has_distortion else None
    if not coefficients or (isinstance(coefficients, list) and not any(coefficients)):
        return PINHOLE
    return parse_lens({"model": "brown_conrady", "coefficients": coefficients})


def _sensors(tables: Tables) -> dict[str, tuple[str, int]]:
    """Return channel and kind of each sensor token.

    Raises:
        UnusableSetError: There are sensors, and none is a camera or a LiDAR.
    """
    records, path = tables.records("sensor"), tables.path("sensor")
    columns = [texts(records, name) for name in ("token", "channel", "modality")]
    kinds = {"camera": CAMERA, "lidar": LIDAR}
    columns[2] = [modality.lower() for modality in columns[2]]
    if records and kinds.keys().isdisjoint(columns[2]):
        others = [f"{channel} ({modality})" for _, channel, modality in zip(*columns, strict=True)]
        hint = (
            "OccFeat learns from cameras, and pretrains with a LiDAR; radars are not read. If some sensors "
            'are these, their modality is "camera" or "lidar".'
        )
        raise UnusableSetError(f"{path} lists no camera and no LiDAR.", first=others, hint=hint)
    for channel, modality in zip(*columns[1:], strict=True):
        if modality not in kinds and _MEANT.search(f"{channel} {modality}".lower()):
            what = f'sensor.json: {channel} is not read: its modality is "{modality}"'
            tables.faults.add(-1, Fault("sensor not read", what))
    return {
        token: (channel, kinds.get(modality, OTHER))
        for token, channel, modality in zip(*columns, strict=True)
    }


def _matrix(rows: Any) -> Float64[ndarray, " 9"]:
    """Return the nine numbers of a 3 x 3 matrix; NaN for anything else, such as the empty list of a LiDAR.

    A row or column more that is that of the identity, as in 3 x 4 and 4 x 4 matrices, is left out.
    """
    try:
        matrix = np.array(rows, dtype=np.float64)
    except (TypeError, ValueError):
        return np.full(9, np.nan)
    if matrix.shape in ((3, 4), (4, 4)) and np.array_equal(matrix[:, 3], np.eye(4)[: len(matrix), 3]):
        matrix = matrix[:3, :3]
    return matrix.reshape(9) if matrix.shape == (3, 3) else np.full(9, np.nan)


def _clockwise(
    cameras: list[str], pose: Float64[ndarray, "n 7"], usable: Bool[ndarray, " n"]
) -> tuple[str, ...]:
    """Return camera names sorted clockwise from the front; unusable cameras last."""
    axes: dict[str, complex] = {}
    for name, (w, x, y, z), good in zip(cameras, pose[:, 3:], usable, strict=True):
        if name:  # the viewing direction is the z axis: the third column of the rotation
            axis = complex(2 * (x * z + w * y), 2 * (y * z - w * x)) if good else 0j
            axes[name] = axes.get(name, 0j) + axis
    if not axes:
        return ()
    angle = {name: math.atan2(axis.imag, axis.real) for name, axis in axes.items()}
    front = min(axes, key=lambda name: (axes[name] == 0, round(abs(angle[name]), 3), name))

    def turn(name: str) -> tuple[bool, float, str]:
        """Return the sort key of a camera: its clockwise angle from the front."""
        return axes[name] == 0, round((angle[front] - angle[name]) % (2 * math.pi), 6) % 6.283185, name

    return tuple(sorted(axes, key=turn))
