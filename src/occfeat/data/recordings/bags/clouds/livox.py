"""Livox' own type of point clouds, CustomMsg, read at once: rosbags makes an object of each point.

Axes: `P` points.
"""

import struct

import numpy as np
from jaxtyping import Shaped
from numpy import ndarray

from occfeat.data.recordings.bags.messages import Message
from occfeat.errors import MessageError

LIVOX = ("livox_ros_driver/msg/CustomMsg", "livox_ros_driver2/msg/CustomMsg")
_FIELDS = ("header", "timebase", "point_num", "lidar_id", "rsvd", "points")
_POINT = (("offset_time", "u4"), ("x", "f4"), ("y", "f4"), ("z", "f4"), ("reflectivity", "u1"), ("tag", "u1"))
_TO_COUNT = 16
"""Bytes from `timebase` to the number of points: 8 of it, 4 of `point_num`, 1 of `lidar_id`, 3 of `rsvd`."""


def livox_points(message: Message) -> Shaped[ndarray, " P"]:
    """Return the points of a CustomMsg as a structured array, without decoding the message.

    ROS 1 packs a point into 19 bytes; CDR aligns it to 20.

    Raises:
        MessageError: The bag defines the type in another way, or the bytes end before the points do.
    """
    if message.decoder.field_names(message.kind) != _FIELDS:
        raise MessageError(f"Type {message.kind} has other fields than Livox' driver gives it.")
    data, is_ros1 = message.data, message.decoder.is_ros1
    order = "<" if is_ros1 or data[1:2] == b"\1" else ">"
    step = 19 if is_ros1 else 20
    try:
        at = 16 + struct.unpack_from(f"{order}I", data, 12)[0]
        at = at if is_ros1 else 4 + -(-(at - 4) // 8) * 8
        (count,) = struct.unpack_from(f"{order}I", data, at + _TO_COUNT)
    except struct.error as error:
        raise MessageError(f"The message has only {len(data)} bytes.") from error
    first = at + _TO_COUNT + 4
    if first + step * (count - 1) + 19 > len(data):
        raise MessageError(f"The message is cut off: {count} points do not fit into {len(data)} bytes.")
    kind = np.dtype([(name, order + part) for name, part in (*_POINT, ("line", "u1"))])
    return np.ndarray((count,), kind, data, first, strides=(step,))
