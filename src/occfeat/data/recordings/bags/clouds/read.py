"""Point clouds of a bag: PointCloud2 with fields of any names, types, order and padding, and Livox' own type.

Axes: `P` points.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Bool, Float32, Float64, Int32, Shaped
from numpy import ndarray

from occfeat.data.recordings.bags.clouds.livox import LIVOX, livox_points
from occfeat.data.recordings.bags.clouds.times import TIME_FIELDS, seconds_after
from occfeat.data.recordings.bags.messages import Header, Message, header_of
from occfeat.errors import MessageError

POINT_CLOUD = "sensor_msgs/msg/PointCloud2"
CLOUD_KINDS = (POINT_CLOUD, *LIVOX)
MAX_POINTS = 10_000_000
"""Largest number of points in a cloud."""
MAX_POINT_BYTES = 65_536
"""Largest size of a point."""
FARTHEST_M = 1e6
"""Points with a larger coordinate are left out (this project's choice)."""
FARTHEST_TYPICAL_M = 1000.0
"""Clouds of which half lies farther are not in metres (this project's choice): LiDARs reach 500 m."""
_TYPES = {1: "i1", 2: "u1", 3: "i2", 4: "u2", 5: "i4", 6: "u4", 7: "f4", 8: "f8"}
"""numpy's types by the numbers of PointField."""
INTENSITY_FIELDS = ("intensity", "i", "reflectivity", "intensities")
RING_FIELDS = ("ring", "channel", "line", "laser_number", "laser_id", "beam")


@dataclass(frozen=True, eq=False)
class Cloud:
    """The points of one message."""

    header: Header
    points_m: Float32[ndarray, "P 3"]
    """x, y, z in the frame of the header. Those read from a message lie in memory axis by axis."""
    intensity: Float32[ndarray, " P"] | None
    """As recorded; None if there is none."""
    ring: Int32[ndarray, " P"] | None
    """Number of the laser; None if unknown."""
    after_s: Float64[ndarray, " P"] | None
    """When each point was measured, in seconds after the stamp of the header; None if unknown."""
    dropped: int
    """Points left out: not finite, at the origin, or implausibly far away."""
    clock_ahead_s: float
    """How far the clock of the points is ahead of that of the header, if they differ by more than a
    second."""


def read_cloud(message: Message) -> Cloud:
    """Return the points of a message.

    Raises:
        MessageError: The message is damaged, or has no coordinates.
    """
    if message.kind in LIVOX:
        header = message.header()
        with message.naming_errors():
            return _cloud_of(header, 0, 0, livox_points(message))
    if message.kind == POINT_CLOUD:
        value = message.decode()
        stamp = value.header.stamp
        with message.naming_errors():
            return _cloud_of(header_of(value), stamp.sec, stamp.nanosec, _table_of(value))
    raise MessageError(f"{message}: expected a point cloud, got a {message.kind}.")


def typical_distance_m(cloud: Cloud) -> float:
    """Return the median distance of points from their sensor; 0 without points."""
    distance_m = np.linalg.norm(cloud.points_m, axis=1)
    return float(np.median(distance_m)) if len(distance_m) else 0.0


def _cloud_of(header: Header, stamp_s: int, stamp_ns: int, table: Shaped[ndarray, " P"]) -> Cloud:
    """Return the cloud of a structured array, with the stamp as seconds and nanoseconds."""
    names = table.dtype.names or ()
    axes_m = np.empty((3, len(table)), np.float32)
    with np.errstate(over="ignore", invalid="ignore"):
        for axis_m, name in zip(axes_m, "xyz", strict=True):
            axis_m[:] = table[name]
    kept = _plausible(axes_m)
    complete = bool(kept.all())
    table = table if complete else table.take(np.flatnonzero(kept))
    times = _first(names, TIME_FIELDS)
    after_s, ahead_s = seconds_after(table[times], stamp_s, stamp_ns) if times else (None, 0.0)
    intensity, ring = _first(names, INTENSITY_FIELDS), _first(names, RING_FIELDS)
    return Cloud(
        header,
        (axes_m if complete else axes_m[:, kept]).T,
        _float32(table[intensity]) if intensity else None,
        _whole(table[ring]) if ring else None,
        after_s,
        len(kept) - len(table),
        ahead_s,
    )


def _plausible(axes_m: Float32[ndarray, "3 P"]) -> Bool[ndarray, " P"]:
    """Return which points, given by axis, are finite, not at the origin and not too far away."""
    size_m = np.abs(axes_m[0])
    for axis_m in axes_m[1:]:
        np.maximum(size_m, np.abs(axis_m), out=size_m)
    kept: ndarray = (size_m > 0) & (size_m < FARTHEST_M)  # false for NaN, too
    return kept


def _float32(values: Shaped[ndarray, " P"]) -> Float32[ndarray, " P"]:
    """Return numbers of any type as float32; what is too large becomes infinite."""
    with np.errstate(over="ignore", invalid="ignore"):
        return values.astype(np.float32)


def _whole(values: Shaped[ndarray, " P"]) -> Int32[ndarray, " P"]:
    """Return numbers of any type as whole ones; what is none becomes -1."""
    if np.can_cast(values.dtype, np.int32) and values.dtype.itemsize < 4:
        return values.astype(np.int32)
    numbers = values.astype(np.float64)
    valid = np.abs(numbers) < 2**31
    return np.where(valid, numbers, -1).astype(np.int32)


def _first(names: Iterable[str], known: tuple[str, ...]) -> str | None:
    """Return the first of the known names that is there."""
    present = set(names)
    return next((name for name in known if name in present), None)


def _table_of(value: Any) -> Shaped[ndarray, " P"]:
    """Return the points of a decoded PointCloud2 as a structured array of the fields that are used.

    Raises:
        MessageError: A coordinate is missing, or fields, steps and bytes do not fit together.
    """
    kind = _point_type(value)
    height, width, step, row = value.height, value.width, value.point_step, value.row_step
    if not 0 <= height * width <= MAX_POINTS:
        raise MessageError(f"A cloud of {width} x {height} points; expected at most {MAX_POINTS:,}.")
    if height * width == 0:
        return np.zeros(0, kind)
    row = row if height > 1 else width * step
    if row < width * step or value.data.size < row * (height - 1) + width * step:
        raise MessageError(
            f"A cloud of {width} x {height} points of {step} bytes, in rows of {row} bytes, has "
            f"{value.data.size} bytes."
        )
    data = np.ascontiguousarray(value.data)
    return np.ndarray((height, width), kind, data, strides=(row, step)).reshape(-1)


def _point_type(value: Any) -> np.dtype[Any]:
    """Return the structured type of one point, with the fields that are used.

    Raises:
        MessageError: A coordinate is missing, or a field is not inside the point.
    """
    if value.point_step > MAX_POINT_BYTES:
        raise MessageError(f"A point of {value.point_step} bytes; expected at most {MAX_POINT_BYTES:,}.")
    used = ("x", "y", "z", *INTENSITY_FIELDS, *RING_FIELDS, *TIME_FIELDS)
    fields = {one.name: one for one in reversed(value.fields) if one.name in used}
    if missing := {"x", "y", "z"} - fields.keys():
        names = ", ".join(str(one.name)[:40] for one in value.fields[:32])
        raise MessageError(f"The cloud has no field {', '.join(sorted(missing))}; its fields are: {names}.")
    order = ">" if value.is_bigendian else "<"
    types = {}
    for name, one in fields.items():
        if one.datatype not in _TYPES:
            raise MessageError(f"Field {name} has type {one.datatype}; expected 1 to 8.")
        types[name] = np.dtype(order + _TYPES[one.datatype])
        if one.offset + types[name].itemsize > value.point_step:
            raise MessageError(
                f"Field {name} at byte {one.offset} is outside of a point of {value.point_step} bytes."
            )
    return np.dtype(
        {
            "names": list(fields),
            "formats": list(types.values()),
            "offsets": [one.offset for one in fields.values()],
            "itemsize": value.point_step,
        }
    )
