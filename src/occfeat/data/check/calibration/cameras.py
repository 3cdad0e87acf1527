"""Cameras whose calibration contradicts the car, the image or their name. No file is read.

Axes: `n` images, `r` rows.
"""

import math
import re
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass

import numpy as np
import pyarrow.compute as pc
import torch
from jaxtyping import Float, Int64
from numpy import ndarray
from torch import Tensor

from occfeat.data.index.index import Index
from occfeat.data.keyframe import transform_from_pose
from occfeat.geometry.distortion import stack_lenses
from occfeat.geometry.ground import describe_stand, sees_ground
from occfeat.geometry.lens import Lens

REACH_M = 50.0
"""Half the side of the square of ground of which a camera must see some."""
GROUND_POINTS = 51
"""Points per side of that square."""
FARTHEST_M = 20.0
"""Largest distance of a camera from the origin of the car. Real ones are at most 4 m away, on trucks 6 m."""
FOCAL = (0.1, 30.0)
"""Smallest and largest focal length in widths of the image. Fisheye lenses have 0.3, nuScenes 0.5 to 0.8."""
MAX_RATIO = 2.5
"""Largest ratio of the focal lengths of rows and columns. Real ones are 1.0; images may be squeezed."""
OFF_CENTER = 0.2
"""Largest distance of the principal point from the middle in both widths and heights of the image. Real ones
are off by 0.05; images cropped at one side are off in one of both."""
LOWEST_M = 0.2
"""Smallest height of a camera above the ground. Real ones are at 0.6 m or higher."""
LARGEST_ROLL_DEG = 15.0
"""Largest roll of a camera that looks across the ground. Real ones are rolled by less than 3 degrees."""
STEEP = 0.8
"""Sine of the angle to the ground above which a camera has no roll."""
MAX_SKEW_DEG = 20.0
"""Largest angle by which a left camera is turned from the mirror image of the right one, and by which a front
camera looks aside. Real ones are below 3 degrees."""
AWAY = 0.35
"""Share of a direction from which on a camera looks or stands away from what its name says."""
OFF_CENTER_M = 0.2
"""Distance from the middle of the car from which on a position says left or right."""

_SIDES = re.compile(r"_?(left|right|center|centre|middle)", re.IGNORECASE)
_DIGITS = re.compile("[0-9]+")
_WORDS = re.compile(r"front|back|rear|left|right", re.IGNORECASE)


@dataclass(frozen=True)
class Calibration:
    """One calibration of a camera."""

    channel: str
    size: tuple[int, int]
    """(height, width) in pixels; (0, 0) if unknown."""
    intrinsics: Float[Tensor, "3 3"]
    ego_from_camera: Float[Tensor, "4 4"]
    lens: Lens


def calibrations(
    index: Index, rows: Int64[ndarray, " r"], channels: Collection[str]
) -> Iterator[Calibration]:
    """Return the different calibrations of some cameras in some key frames."""
    entries = index.column("cameras").values
    channel = entries.field("channel").to_numpy()
    wanted = np.isin(index.channels, list(channels))
    usable = pc.equal(entries.field("fault"), "").to_numpy(zero_copy_only=False)
    used = np.flatnonzero(index.entries("cameras", rows) & wanted[channel] & usable)
    names = ("channel", "lens", "height", "width")
    plain = [entries.field(name).to_numpy()[used].astype(np.float64)[:, None] for name in names]
    vectors = [
        entries.field(name).values.to_numpy().reshape(-1, width)[used]
        for name, width in (("intrinsics", 9), ("calibration", 7))
    ]
    table = np.ascontiguousarray(np.hstack((*plain, *vectors)))
    as_bytes = table.view(np.dtype((np.void, table.itemsize * table.shape[1])))[:, 0]
    for at in np.sort(np.unique(as_bytes, return_index=True)[1]):
        values = table[at]
        yield Calibration(
            index.channels[int(values[0])],
            (int(values[2]), int(values[3])),
            torch.from_numpy(values[4:13].reshape(3, 3).copy()),
            transform_from_pose(torch.from_numpy(values[13:].copy())),
            index.metadata.lenses[int(values[1])],
        )


def fault_of(one: Calibration) -> str:
    """Return what is implausible about a calibration; empty if nothing is. Faulty records are left out."""
    if not (one.ego_from_camera.isfinite().all() and one.intrinsics.isfinite().all() and min(one.size)):
        return ""
    return (
        _fault_of_intrinsics(one)
        or _fault_of_position(one)
        or _fault_of_roll(one.ego_from_camera)
        or _fault_of_name(one.channel, one.ego_from_camera)
    )


def faults_of_order(yaw_rad: Mapping[str, float]) -> Iterator[tuple[str, str]]:
    """Find cameras whose directions contradict the names of their neighbours.

    `CAM_BACK` looks back, between `CAM_BACK_LEFT` and `CAM_BACK_RIGHT`, which mirror each other.

    Args:
        yaw_rad: Direction of each camera in the ego frame.

    Returns:
        The camera, and what is implausible about it.
    """
    groups: dict[str, dict[str, list[str]]] = {}
    for channel in yaw_rad:
        sides = {word.lower() for word in _WORDS.findall(channel)} & {"left", "right"}
        if len(sides) < 2:
            group = groups.setdefault(_SIDES.sub("", channel), {})
            group.setdefault(sides.pop() if sides else "between", []).append(channel)
    for members in groups.values():
        left, right, between = (members.get(side, []) for side in ("left", "right", "between"))
        if len(left) == len(right) == 1:
            fault = _fault_of_pair(left[0], right[0], between, yaw_rad)
            if fault is not None:
                yield fault
                continue
        if len(between) == 1 and (aside := _fault_of_middle(between[0], yaw_rad)):
            yield between[0], aside


def _fault_of_pair(
    left: str, right: str, between: list[str], yaw_rad: Mapping[str, float]
) -> tuple[str, str] | None:
    """Return a camera that is not between a left and a right one, or a pair that does not mirror."""
    for middle in between:
        turns = [math.remainder(yaw_rad[side] - yaw_rad[middle], math.tau) for side in (left, right)]
        if turns[0] * turns[1] > 0:
            return middle, f"does not look between {left} and {right}: two calibrations may be swapped"
    skew = math.remainder(yaw_rad[left] + yaw_rad[right], math.tau)
    if abs(skew) <= math.radians(MAX_SKEW_DEG):
        return None
    yaws = " and ".join(f"{math.degrees(yaw_rad[side]):.0f}" for side in (left, right))
    return left, f"and {right} look {yaws} degrees to the left of the car: they should mirror each other"


def _fault_of_middle(channel: str, yaw_rad: Mapping[str, float]) -> str:
    """Return whether a camera named after the front or back alone looks aside."""
    words = {word.lower() for word in _WORDS.findall(channel)}
    same = [other for other in yaw_rad if _DIGITS.sub("", other) == _DIGITS.sub("", channel)]
    aside_rad = math.asin(min(1.0, abs(math.sin(yaw_rad[channel]))))
    if len(words) != 1 or len(same) > 1 or aside_rad <= math.radians(MAX_SKEW_DEG):
        return ""
    return f"looks {math.degrees(aside_rad):.0f} degrees aside of {words.pop()}"


def faults_of_copies(calibrations: Iterable[Calibration]) -> Iterator[tuple[str, str]]:
    """Find cameras that stand and look as another one does, to the last digit."""
    first: dict[bytes, str] = {}
    for one in calibrations:
        content = one.ego_from_camera.numpy().tobytes() + one.intrinsics.numpy().tobytes()
        if (other := first.setdefault(content, one.channel)) != one.channel:
            yield one.channel, f"has the calibration of {other}"


def _fault_of_intrinsics(one: Calibration) -> str:
    """Return whether the intrinsics are those of another image."""
    height, width = one.size
    fx_px, fy_px = one.intrinsics.diagonal()[:2].tolist()
    u, v = one.intrinsics[:2, 2].tolist()
    off = sorted((abs(u / width - 0.5), abs(v / height - 0.5)))
    in_image = off[0] <= OFF_CENTER and off[1] <= 1
    if in_image and FOCAL[0] <= fx_px / width <= FOCAL[1] and 1 / MAX_RATIO <= fy_px / fx_px <= MAX_RATIO:
        return ""
    of_image = f"an image of {width} x {height} pixels"
    focal = f"focal lengths of {fx_px:.4g} and {fy_px:.4g} px"
    return f"has {focal} and its principal point at ({u:.4g}, {v:.4g}) px in {of_image}"


def _fault_of_position(one: Calibration) -> str:
    """Return whether a camera is not on the car, or sees none of the ground around it."""
    away_m, height_m = float(one.ego_from_camera[:3, 3].norm()), float(one.ego_from_camera[2, 3])
    if away_m > FARTHEST_M:
        return f"is {away_m:.4g} m from the origin of the car; positions are in metres"
    stacked = stack_lenses([one.lens])
    sees = sees_ground(
        one.intrinsics[None],
        one.ego_from_camera[None],
        None if stacked is None else stacked.double(),
        one.size,
        reach_m=REACH_M,
        points=GROUND_POINTS,
    )
    if not sees.all():
        return f"sees no ground within {REACH_M:g} m: it {describe_stand(one.ego_from_camera)}"
    return f"is {height_m:.2f} m above the ground" if height_m < LOWEST_M else ""


def _fault_of_roll(ego_from_camera: Float[Tensor, "4 4"]) -> str:
    """Return whether the lower border of the images is not below the upper one."""
    along, down = ego_from_camera[:3, 2].tolist(), float(ego_from_camera[2, 1])
    level = math.sqrt(max(0.0, 1 - along[2] ** 2))
    if abs(along[2]) > STEEP or -down / level >= math.cos(math.radians(LARGEST_ROLL_DEG)):
        return ""
    roll_deg = math.degrees(math.acos(max(-1.0, min(1.0, -down / level))))
    return f"is rolled by {roll_deg:.0f} degrees: it {describe_stand(ego_from_camera)}"


def _fault_of_name(channel: str, ego_from_camera: Float[Tensor, "4 4"]) -> str:
    """Return whether a camera looks or stands on another side of the car than its name says.

    The right one of two rear cameras may look to the left of the car: then its position decides.
    """
    words = [word.lower().replace("rear", "back") for word in _WORDS.findall(channel)]
    x, y = ego_from_camera[:2, 2].tolist()
    position_m = float(ego_from_camera[1, 3])
    towards = {"front": x, "back": -x, "left": y, "right": -y}
    sides = [word for word in words if word in ("left", "right")]
    for word in words:
        if word in sides and (len(sides) > 1 or "back" in words):
            continue
        if towards[word] < -AWAY:
            return f"looks away from {word}: it {describe_stand(ego_from_camera)}"
    stands_there = len(sides) != 1 or (position_m > 0) == (sides[0] == "left")
    if stands_there or abs(position_m) < OFF_CENTER_M or (y > 0) != (position_m > 0):
        return ""
    return f"is not on the {sides[0]}: it {describe_stand(ego_from_camera)}"
