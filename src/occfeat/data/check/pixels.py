"""Images that show nothing, or the same again and again, or whose levels are not those of their files.

A few pairs of key frames that follow each other are decoded.
"""

from collections import Counter, defaultdict
from collections.abc import Collection, Iterator
from dataclasses import dataclass, field
from hashlib import blake2b
from pathlib import Path

import cv2
import numpy as np
from jaxtyping import Float32, Int64
from numpy import ndarray

from occfeat.data.images import read_deep_levels, read_image
from occfeat.data.index.index import Index
from occfeat.data.index.subsets import spread, successors
from occfeat.data.keyframe import KeyFrame
from occfeat.data.source.paths import resolve
from occfeat.errors import KeyFrameError

PAIRS = 4
"""Number of pairs of key frames whose images are read."""
SMALL = (36, 64)
"""Height and width to which images are reduced before they are compared; noise of the sensor is gone then."""
FLAT = 2.0
"""Standard deviation of grey levels of a small image up to which it shows nothing. Images of streets at night
have over 7, in fog over 15."""
DARK = 15
"""Largest level of a small image that is nearly black. At night, lamps are brighter."""
FEW_BITS = 14
"""Largest number of bits of levels in files of 16 bits that is a fault."""
MOVED_M, TURNED = 0.5, 0.02
"""Motion of the car from which on two images of a camera differ; the second number is an angle in radians."""
STANDS_M, STANDS = 0.02, 0.002
"""Motion of the car up to which it stands, and its images are alike."""
CHANGED = 6.0
"""Smallest median change of grey levels that a standing car does not see. It sees less than 2. A car that has
moved by 2 m sees 7 to 24 by day."""

IMAGES, POSES = "implausible images", "implausible poses"


@dataclass
class _Camera:
    """What is seen of the images of one camera, by key frame."""

    small: dict[int, Float32[ndarray, "36 64"]] = field(default_factory=dict)
    """Grey levels of the image, made small."""
    content: dict[int, bytes] = field(default_factory=dict)
    """Hash of its pixels, if it shows something."""
    brightest: list[float] = field(default_factory=list)
    bits: list[int] = field(default_factory=list)
    """Number of bits of the largest level of each file of 16 bits."""


def look_at_images(
    index: Index, rows: Int64[ndarray, " n"], channels: Collection[str]
) -> Iterator[tuple[str, str]]:
    """Find cameras whose images cannot be, as kind and description with the name of the camera.

    Args:
        index: The index of the data set.
        rows: Key frames.
        channels: Cameras that are used.
    """
    pairs = successors(index, rows, PAIRS)
    chosen = np.unique(pairs) if len(pairs) else spread(rows, PAIRS)
    key_frames: dict[int, KeyFrame] = {}
    cameras: dict[str, _Camera] = defaultdict(_Camera)
    for row in chosen.tolist():
        try:
            key_frames[row] = index.key_frame(row)
        except KeyFrameError:
            continue  # reported elsewhere
        _look(index, key_frames[row], row, channels, cameras)
    known = dict(zip(chosen.tolist(), index.has_poses(chosen).tolist(), strict=True))
    for channel, camera in cameras.items():
        if fault := _fault_of(camera) or _fault_of_repeats(camera, cameras, key_frames, known):
            yield IMAGES, f"{channel} {fault}"
    yield from ((IMAGES, fault) for fault in _faults_between(cameras))
    yield from ((POSES, fault) for fault in _faults_of_standing(pairs, cameras, key_frames, known))


def _look(
    index: Index, key_frame: KeyFrame, row: int, channels: Collection[str], cameras: dict[str, _Camera]
) -> None:
    """Read the images of one key frame; those that cannot be read are reported elsewhere."""
    for record in key_frame.cameras:
        if record.channel not in channels:
            continue
        try:
            _see(cameras[record.channel], row, resolve(index.root, record.path))
        except KeyFrameError:
            continue


def _see(camera: _Camera, row: int, path: Path) -> None:
    """Add one image to what is seen of its camera."""
    pixels = np.ascontiguousarray(read_image(path, needed_size=SMALL).permute(1, 2, 0).numpy())
    grey = cv2.cvtColor(pixels, cv2.COLOR_RGB2GRAY)
    small = cv2.resize(grey.astype(np.float32), SMALL[::-1], interpolation=cv2.INTER_AREA)
    camera.small[row] = small
    camera.brightest.append(float(small.max()))
    if small.std() > FLAT:
        camera.content[row] = blake2b(pixels.tobytes(), digest_size=16).digest()
    if (levels := read_deep_levels(path)) is not None:
        camera.bits.append(int(levels.max()).bit_length())


def _fault_of(camera: _Camera) -> str:
    """Return whether the images of a camera show nothing, or hold too few levels."""
    count = len(camera.small)
    if camera.bits and (most := max(camera.bits)) <= FEW_BITS:
        levels = f"holds levels of {most} bits in files of 16 bits, of which {2**16 - 1} is white"
        return f"{levels}: its images are nearly black"
    flat = count - len(camera.content)
    if count and 2 * flat > count:
        grey = float(np.median([small.mean() for small in camera.small.values()]))
        return (
            f"shows nothing in {flat} of {count} images that were looked at: they are grey {grey:.0f} of 255"
        )
    if count and max(camera.brightest) <= DARK:
        return f"is nearly black: of {count} images, none is brighter than {max(camera.brightest):.0f} of 255"
    return ""


def _fault_of_repeats(
    camera: _Camera, cameras: dict[str, _Camera], key_frames: dict[int, KeyFrame], known: dict[int, bool]
) -> str:
    """Return whether a camera shows the same image in key frames in which it cannot."""
    if not camera.content:
        return ""
    content, count = Counter(camera.content.values()).most_common(1)[0]
    same = [row for row, one in camera.content.items() if one == content]
    if 2 * count <= len(camera.content) or count < 2:
        return ""
    first, last = key_frames[same[0]], key_frames[same[-1]]
    others = [one.small for one in cameras.values() if {same[0], same[-1]} <= one.small.keys()]
    changed = float(np.median([_change(one[same[0]], one[same[-1]]) for one in others])) > CHANGED
    if not (
        first.scene != last.scene or changed or (known[same[0]] and not _within(first, last, MOVED_M, TURNED))
    ):
        return ""
    tokens = f"{first.token} and {last.token}"
    return f"shows the same image in {count} of {len(camera.small)} key frames, such as {tokens}"


def _within(first: KeyFrame, last: KeyFrame, moved_m: float, turned: float) -> bool:
    """Return whether the car has moved and turned between two key frames by no more than that."""
    step = (first.global_from_ego.inverse() @ last.global_from_ego).numpy()
    turn = np.abs(step[:3, :3] - np.eye(3)).max()
    return bool(np.linalg.norm(step[:3, 3]) <= moved_m and turn <= turned)


def _faults_between(cameras: dict[str, _Camera]) -> Iterator[str]:
    """Find cameras that show the same images as another one."""
    names = list(cameras)
    for number, name in enumerate(names):
        content = cameras[name].content
        for other in names[:number]:
            shared = content.keys() & cameras[other].content.keys()
            same = sum(content[row] == cameras[other].content[row] for row in shared)
            if 2 * same > len(shared):
                yield f"{name} shows the same images as {other}, in {same} of {len(shared)} key frames"
                break


def _faults_of_standing(
    pairs: Int64[ndarray, "m 2"],
    cameras: dict[str, _Camera],
    key_frames: dict[int, KeyFrame],
    known: dict[int, bool],
) -> Iterator[str]:
    """Find scenes whose images change as those of a moving car do while their poses say that it stands."""
    changes: dict[str, list[bool]] = defaultdict(list)
    for first, last in pairs.tolist():
        if not (first in key_frames and last in key_frames and known[first]):
            continue
        change = [
            _change(one.small[first], one.small[last])
            for one in cameras.values()
            if first in one.small and last in one.small
        ]
        if change:
            stands = _within(key_frames[first], key_frames[last], STANDS_M, STANDS)
            changes[key_frames[first].scene].append(stands and float(np.median(change)) > CHANGED)
    for scene, each in changes.items():
        if 2 * sum(each) > len(each):
            yield f"{scene}: images change as those of a moving car do where its poses say that it stands"


def _change(first: Float32[ndarray, "36 64"], last: Float32[ndarray, "36 64"]) -> float:
    """Return the median change of grey levels between two images, besides that of their exposure."""
    change = last - first
    return float(np.median(np.abs(change - np.median(change))))
