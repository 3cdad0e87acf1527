"""nuScenes-C's eight corruptions at three severities, with separate noise for each image.

Parameters are those of RoboBEV (arXiv 2304.06719), whose data set was generated without a fixed seed. Here
random numbers depend only on seed, key frame, camera, epoch, corruption and severity. They are the same in
every loader process.
"""

import hashlib
from dataclasses import dataclass
from typing import get_args

import numpy as np
import torch
from jaxtyping import UInt8
from numpy import ndarray
from torch import Tensor

from occfeat.data.corruptions.blur import motion_blur
from occfeat.data.corruptions.light import brighten, darken, posterize
from occfeat.data.corruptions.sensors import crashed_cameras, frame_is_lost
from occfeat.data.corruptions.weather import fog, fog_heights, snow, snow_flakes
from occfeat.data.dataset import ImageReader
from occfeat.data.keyframe import CameraRecord
from occfeat.errors import KeyFrameError
from occfeat.settings.sections import CorruptionChoice, CorruptionName, Severity

NAMES: tuple[CorruptionName, ...] = get_args(CorruptionName)
SEVERITIES: tuple[Severity, ...] = get_args(Severity)

MIN_SIDE_PX = 32
"""Smallest side of an image, about the length of streaks and flakes (ImageNet-C's limit)."""

# Easy, mid and hard.
CRASH_DRAWS = (2, 4, 5)
LOST_PROBABILITY = (2 / 6, 4 / 6, 5 / 6)
BLUR_RADIUS_SIGMA = ((15, 5.0), (15, 12.0), (20, 15.0))
BLUR_ANGLE_DEG = 45.0
COLOR_BITS = (4, 3, 2)
BRIGHTNESS = (0.2, 0.4, 0.5)
DARK_BRIGHTEST_PHOTONS_NOISE = ((0.4, 120, 0.018), (0.3, 50, 0.026), (0.2, 30, 0.038))
FOG_AMOUNT_DECAY = ((2.0, 2.0), (2.5, 1.5), (3.0, 1.4))
SNOW_FLAKES = ((0.1, 0.3, 3.0, 0.5, 10, 4.0), (0.2, 0.3, 2.0, 0.5, 12, 4.0), (0.55, 0.3, 4.0, 0.9, 12, 8.0))
SNOW_MIX = (0.8, 0.7, 0.7)


def chosen(names: tuple[CorruptionChoice, ...]) -> tuple[CorruptionName, ...]:
    """Return the requested corruptions without duplicates, in nuScenes-C's order; `all` means all eight."""
    return tuple(name for name in NAMES if name in names or "all" in names)


def random_numbers(*key: object) -> np.random.Generator:
    """Return a generator seeded by plain values, the same in every process and on every machine."""
    digest = hashlib.blake2b(repr(key).encode(), digest_size=16).digest()
    return np.random.Generator(np.random.SFC64(int.from_bytes(digest, "little")))


@dataclass(frozen=True)
class Corruption:
    """One corruption at one severity, as the effect of `KeyFrames`."""

    name: CorruptionName
    severity: Severity
    channels: tuple[str, ...]
    """All cameras of the data set, some of which can crash."""
    seed: int = 0

    def __call__(
        self, read: ImageReader, camera: CameraRecord, token: str, epoch: int
    ) -> UInt8[Tensor, "3 H W"]:
        """Return the corrupted image; that of a dead camera is black and is not read.

        Raises:
            KeyFrameError: The image is too small, or cannot be read.
        """
        height, width = camera.size
        if min(height, width) < MIN_SIDE_PX:
            smallest = f"{MIN_SIDE_PX} x {MIN_SIDE_PX}"
            raise KeyFrameError(
                f"Image {camera.path} has {width} x {height} pixels; expected at least {smallest}."
            )
        level = SEVERITIES.index(self.severity)
        random = random_numbers(self.seed, token, camera.channel, epoch, self.name, self.severity)
        match self.name:
            case "CameraCrash":
                dead = camera.channel in self.crashed
            case "FrameLost":
                dead = frame_is_lost(LOST_PROBABILITY[level], random)
            case _:
                pixels = np.ascontiguousarray(read().permute(1, 2, 0).numpy())
                return torch.from_numpy(corrupt_pixels(pixels, self.name, level, random)).permute(2, 0, 1)
        return torch.zeros(3, height, width, dtype=torch.uint8) if dead else read()

    @property
    def crashed(self) -> frozenset[str]:
        """Cameras that are dead in the whole data set, for `CameraCrash`."""
        draws = CRASH_DRAWS[SEVERITIES.index(self.severity)]
        return crashed_cameras(self.channels, draws, random_numbers(self.seed, self.name, self.severity))


def corrupt_pixels(
    pixels: UInt8[ndarray, "H W 3"], name: CorruptionName, level: int, random: np.random.Generator
) -> UInt8[ndarray, "H W 3"]:
    """Corrupt the image of a working camera.

    Args:
        pixels: RGB image.
        name: Any corruption except those of sensors.
        level: Severity, 0 to 2.
        random: Generator of all random numbers.
    """
    match name:
        case "MotionBlur":
            angle_deg = random.uniform(-BLUR_ANGLE_DEG, BLUR_ANGLE_DEG)
            return motion_blur(pixels, *BLUR_RADIUS_SIGMA[level], angle_deg)
        case "ColorQuant":
            return posterize(pixels, COLOR_BITS[level])
        case "Brightness":
            return brighten(pixels, BRIGHTNESS[level])
        case "LowLight":
            return darken(pixels, *DARK_BRIGHTEST_PHOTONS_NOISE[level], random)
        case "Fog":
            amount, decay = FOG_AMOUNT_DECAY[level]
            return fog(pixels, amount, fog_heights(max(pixels.shape), decay, random))
        case "Snow":
            flakes = snow_flakes(pixels.shape[:2], *SNOW_FLAKES[level], random)
            return snow(pixels, flakes, SNOW_MIX[level])
    raise ValueError(f"expected a corruption of pixels, got {name}")
