"""Intrinsics and lens of a camera from its CameraInfo.

ROS counts pixels from the centre of the first one, this project from its upper left corner: the principal
point is moved by half a pixel.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Float64
from numpy import ndarray

from occfeat.data.recordings.bags.messages import Header, Message, header_of
from occfeat.errors import MessageError
from occfeat.geometry.lens import PINHOLE, Lens

CAMERA_INFO = "sensor_msgs/msg/CameraInfo"
_MODELS = {
    "plumb_bob": ("brown_conrady", 5),
    "radtan": ("brown_conrady", 5),
    "rational_polynomial": ("brown_conrady", 8),
    "equidistant": ("kannala_brandt", 4),
    "fisheye": ("kannala_brandt", 4),
}
"""Our model of each model of ROS, and its largest number of coefficients."""


@dataclass(frozen=True, eq=False)
class CameraModel:
    """What a CameraInfo says about the images of a topic."""

    header: Header
    size: tuple[int, int]
    """(height, width) of the images in pixels."""
    intrinsics: Float64[ndarray, "3 3"]
    """Pinhole matrix in pixels of the images; (0, 0) is their upper left corner."""
    lens: Lens
    rectification_deg: float
    """Angle of the rotation R that rectification applies. For a rectified topic, the frame is taken as that
    of the rectified camera, as ROS' image_geometry does; with a large angle, check which one the TF tree
    has."""


def is_rectified(topic: str) -> bool:
    """Return whether the images of a topic are rectified, by ROS' convention for names: `image_rect*`."""
    return any(part.startswith("image_rect") for part in topic.split("/"))


def read_camera_info(message: Message, *, rectified: bool) -> CameraModel:
    """Return intrinsics and lens of the images that belong to a CameraInfo.

    Args:
        message: A CameraInfo.
        rectified: Whether the images are rectified. Then P counts and there is no distortion; otherwise K and
        D.

    Raises:
        MessageError: The message is damaged, the camera is not calibrated, or its model is not known.
    """
    if message.kind != CAMERA_INFO:
        raise MessageError(f"{message}: expected a CameraInfo, got a {message.kind}.")
    value = message.decode()
    with message.naming_errors():
        lens = PINHOLE if rectified else _lens_of(value)
        matrix = _field(value, "p").reshape(3, 4)[:, :3] if rectified else _field(value, "k").reshape(3, 3)
        intrinsics, size = _of_stored_image(matrix, value)
        return CameraModel(header_of(value), size, intrinsics, lens, _rectification_deg(value))


def _field(value: Any, name: str) -> ndarray:
    """Return an array of a CameraInfo; ROS 1 writes its name in capitals."""
    found = getattr(value, name, None)
    return np.asarray(getattr(value, name.upper()) if found is None else found, dtype=np.float64)


def _lens_of(value: Any) -> Lens:
    """Return the lens of a decoded CameraInfo."""
    coefficients = [float(number) for number in _field(value, "d")]
    name = str(value.distortion_model).strip().lower()
    if not any(coefficients) and name not in ("equidistant", "fisheye"):
        return PINHOLE
    if name not in _MODELS:
        hint = f"Known are {', '.join(_MODELS)}; or state the lens in the rig file."
        raise MessageError(f"Distortion model {name[:40]!r} is not known.", hint=hint)
    model, count = _MODELS[name]
    if any(coefficients[count:]):
        raise MessageError(
            f"Model {name} has at most {count} coefficients that are not 0, got {len(coefficients)}.",
            hint="Lenses with thin-prism terms are not read. Rectify the images, or calibrate without them.",
        )
    kept = coefficients[:count]
    return Lens(model, tuple(kept + [0.0] * (_complete(model, len(kept)) - len(kept))))


def _complete(model: str, count: int) -> int:
    """Return the number of coefficients of a complete lens with at least `count`."""
    lengths = {"brown_conrady": (4, 5, 8), "kannala_brandt": (4,)}[model]
    return next(length for length in lengths if length >= count)


def _of_stored_image(
    matrix: Float64[ndarray, "3 3"], value: Any
) -> tuple[Float64[ndarray, "3 3"], tuple[int, int]]:
    """Return intrinsics and size of the images as stored: cropped to the region of interest, and binned."""
    if not np.isfinite(matrix).all() or matrix[0, 0] <= 0 or matrix[1, 1] <= 0:
        hint = "Calibrate the camera, or state its intrinsics in the rig file."
        raise MessageError(
            f"The camera is not calibrated: its matrix is {matrix.round(3).tolist()}.", hint=hint
        )
    roi = value.roi
    binning = np.array((max(value.binning_x, 1), max(value.binning_y, 1)))
    width, height = roi.width or value.width, roi.height or value.height
    intrinsics = matrix / matrix[2, 2] if matrix[2, 2] else matrix
    corner_px = intrinsics[:2, 2] + 0.5 - (roi.x_offset, roi.y_offset)
    intrinsics = np.vstack((intrinsics[:2] / binning[:, None], (0.0, 0.0, 1.0)))
    intrinsics[:2, 2] = corner_px / binning
    return intrinsics, (int(height // binning[1]), int(width // binning[0]))


def _rectification_deg(value: Any) -> float:
    """Return the angle of R in degrees; 0 if it is not given."""
    rotation = _field(value, "r").reshape(3, 3)
    if not np.isfinite(rotation).all() or not rotation.any():
        return 0.0
    return float(np.degrees(np.arccos(np.clip((np.trace(rotation) - 1) / 2, -1, 1))))
