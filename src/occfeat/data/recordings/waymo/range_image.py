"""Range images of a LiDAR to points in its own frame.

Row 0 of a range image is the highest beam, and its columns turn clockwise from behind. Points of the LiDAR on
the roof are corrected: its range image has the pose of the vehicle for every pixel, because the vehicle moves
while it spins. Source: `convert_range_image_to_point_cloud` of `waymo_open_dataset.v2`.

Axes: `H W` range image, `P` points. Frames: laser is the LiDAR's own, ego the vehicle's, global the map's.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float32, Float64, Int64, Real
from numpy import ndarray

from occfeat.data.formats.nuscenes.writer.values import require_rigid
from occfeat.errors import DatasetError

MAX_PIXELS = 2_000_000
"""Largest range image; that of the LiDAR on the roof has 170 000 pixels."""
CHUNK = 1 << 14
"""Points that are handled together; what is computed of them stays in the processor's cache."""


@dataclass(frozen=True, eq=False)
class Laser:
    """A LiDAR and the directions of its beams."""

    channel: str
    ego_from_laser: Float64[ndarray, "4 4"]
    limits_rad: tuple[float, float]
    """Lowest and highest inclination, where they are uniform."""
    inclinations_rad: Real[ndarray, " H"] | None = None
    """Inclination of each beam from below, where they are not."""

    def __post_init__(self) -> None:
        require_rigid(f"ego_from_laser of {self.channel}", self.ego_from_laser)
        numbers = self.limits_rad if self.inclinations_rad is None else self.inclinations_rad
        if not (np.abs(numbers) <= np.pi / 2).all():
            what = f"expected inclinations between -pi/2 and pi/2, got {np.asarray(numbers).tolist()}"
            raise DatasetError(f"{self.channel}: {what}.", hint="Download lidar_calibration again.")

    def beams_rad(self, height: int) -> Float64[ndarray, " H"]:
        """Return the inclination of each row of a range image.

        Raises:
            DatasetError: There is another number of beams.
        """
        if self.inclinations_rad is None:
            low, high = self.limits_rad
            return np.asarray(low + (high - low) * (0.5 + np.arange(height)[::-1]) / height)
        if len(self.inclinations_rad) != height:
            beams = len(self.inclinations_rad)
            raise DatasetError(f"{self.channel} has {beams} beams, but a range image has {height} rows.")
        return self.inclinations_rad[::-1].astype(np.float64)

    def rays(self, height: int, width: int) -> Float32[ndarray, "HW 4"]:
        """Return the ray of each pixel, row after row: direction in the LiDAR frame, and number of the beam.

        Beams are counted from below.

        Raises:
            DatasetError: There is another number of beams.
        """
        lift = self.beams_rad(height)[:, None]
        offset = np.arctan2(self.ego_from_laser[1, 0], self.ego_from_laser[0, 0])
        around = (2 * (width - np.arange(width) - 0.5) / width - 1) * np.pi - offset
        beam = np.arange(height)[::-1, None]
        rays = np.empty((height, width, 4), dtype=np.float32)
        rays[..., 0], rays[..., 1] = np.cos(around) * np.cos(lift), np.sin(around) * np.cos(lift)
        rays[..., 2], rays[..., 3] = np.sin(lift), beam
        return rays.reshape(-1, 4)


def decode_returns(
    images: Sequence[Real[ndarray, "H W 4"]], rays: Float32[ndarray, "HW 4"]
) -> tuple[Float32[ndarray, "P 5"], Int64[ndarray, " P"]]:
    """Return the points of range images of one shape, and the pixel of each.

    Points are x, y and z in metres in the LiDAR's frame, intensity as recorded, and the number of the beam
    from below. Pixels with a range of 0 or less have no return.
    """
    kept = [np.flatnonzero(image[..., 0] > 0) for image in images]
    points = np.empty((sum(map(len, kept)), 5), dtype=np.float32)
    parts = np.split(points, np.cumsum([len(pixels) for pixels in kept[:-1]]))
    for image, pixels, part in zip(images, kept, parts, strict=True):
        for begin in range(0, len(pixels), CHUNK):
            chunk = slice(begin, begin + CHUNK)
            _place(
                image.reshape(-1, 4).take(pixels[chunk], axis=0),
                rays.take(pixels[chunk], axis=0),
                part[chunk],
            )
    return points, np.concatenate(kept)


def _place(
    seen: Real[ndarray, "P 4"], along: Float32[ndarray, "P 4"], points: Float32[ndarray, "P 5"]
) -> None:
    """Write some points; NumPy is fastest at single columns."""
    for axis in range(3):
        np.multiply(along[:, axis], seen[:, 0], out=points[:, axis], casting="same_kind")
    points[:, 3], points[:, 4] = seen[:, 1], along[:, 3]


def correct_motion(
    points_laser: Float32[ndarray, "P 3"],
    pixel_poses: Real[ndarray, "P 6"],
    ego_from_laser: Float64[ndarray, "4 4"],
    global_from_ego: Float64[ndarray, "4 4"],
) -> Float32[ndarray, "P 3"]:
    """Return points as the LiDAR would have measured them all at once, at the pose of the frame.

    Args:
        points_laser: Points, each in the LiDAR's frame at its own time.
        pixel_poses: Pose of the vehicle at the time of each point: roll, pitch and yaw in radians, then x, y
            and z in metres, from the vehicle to the global frame. The rotation is Rz(yaw) Ry(pitch) Rx(roll).
        ego_from_laser: Where the LiDAR sits.
        global_from_ego: Pose of the frame.
    """
    global_from_laser = global_from_ego @ ego_from_laser
    corrected = np.empty((3, len(points_laser)), dtype=np.float32)
    for begin in range(0, len(points_laser), CHUNK):
        chunk = slice(begin, begin + CHUNK)
        corrected[:, chunk] = _corrected(
            points_laser[chunk], pixel_poses[chunk], ego_from_laser, global_from_laser
        )
    return corrected.T


def _corrected(
    points_laser: Float32[ndarray, "P 3"],
    pixel_poses: Real[ndarray, "P 6"],
    ego_from_laser: Float64[ndarray, "4 4"],
    global_from_laser: Float64[ndarray, "4 4"],
) -> Float32[ndarray, "3 P"]:
    """Return some corrected points by axis."""
    mounted = ego_from_laser.astype(np.float32)
    x, y, z = mounted[:3, :3] @ points_laser.T + mounted[:3, 3:]
    roll, pitch, yaw = pixel_poses[:, :3].T.astype(np.float32, order="C")
    y, z = _turn(y, z, roll)
    z, x = _turn(z, x, pitch)
    x, y = _turn(x, y, yaw)
    # Differences of positions are small, and exact enough in float32; positions themselves are not.
    moved = np.empty((3, len(points_laser)), dtype=np.float32)
    for axis, turned in enumerate((x, y, z)):
        moved[axis] = pixel_poses[:, 3 + axis] - global_from_laser[axis, 3]
        moved[axis] += turned
    return global_from_laser[:3, :3].T.astype(np.float32) @ moved


def _turn(
    a: Float32[ndarray, " P"], b: Float32[ndarray, " P"], angle: Float32[ndarray, " P"]
) -> tuple[Float32[ndarray, " P"], Float32[ndarray, " P"]]:
    """Rotate from axis a towards axis b."""
    cosine, sine = np.cos(angle), np.sin(angle)
    return cosine * a - sine * b, sine * a + cosine * b
