"""Corrupted images per second and core, beside each definition written plainly.

    nice python -m benchmarks.data.corruptions

A made-up image of 1600 x 900 pixels, severity mid, one thread; decoding and scaling are not counted. Plain is
the definition as numpy does it: one shifted copy per pixel of a streak, HSV and back, photons and noise drawn
one after the other, values in double precision; fog and flakes are made by the package there, too. Seconds of
the processor, so that other work on the machine counts less.
"""

import math
import time
from collections.abc import Callable
from functools import partial

import cv2
import numpy as np
import torch
from numpy.typing import NDArray

from occfeat.data.corruptions import corruptions
from occfeat.data.corruptions.corruptions import NAMES, Corruption, random_numbers
from occfeat.data.corruptions.weather import fog_heights, snow_flakes
from occfeat.data.keyframe import CameraRecord
from occfeat.settings.sections import CorruptionName

MID, REPEATS = 1, 7
Pixels = NDArray[np.uint8]


def blur_plainly(pixels: Pixels) -> Pixels:
    """Blur with one shifted copy per pixel of the streak."""
    radius, sigma = corruptions.BLUR_RADIUS_SIGMA[MID]
    steps = np.arange(2 * radius + 1)
    weights = np.exp(-(steps**2) / (2 * sigma**2))
    height, width, _ = pixels.shape
    blurred = np.zeros(pixels.shape, dtype=np.float32)
    for step, weight in zip(steps, weights / weights.sum(), strict=True):
        rows = np.clip(np.arange(height) + math.ceil(step * math.sin(0.5) - 0.5), 0, height - 1)
        columns = np.clip(np.arange(width) + math.ceil(step * math.cos(0.5) - 0.5), 0, width - 1)
        blurred += np.float32(weight) * pixels[rows][:, columns]
    return blurred.astype(np.uint8)


def brighten_plainly(pixels: Pixels) -> Pixels:
    """To HSV and back."""
    hsv = cv2.cvtColor(pixels.astype(np.float32) / 255, cv2.COLOR_RGB2HSV)
    hsv[..., 2] = np.clip(hsv[..., 2] + corruptions.BRIGHTNESS[MID], 0, 1)
    return (cv2.cvtColor(hsv, cv2.COLOR_HSV2RGB) * 255).astype(np.uint8)


def darken_plainly(pixels: Pixels) -> Pixels:
    """Photons and noise drawn one after the other."""
    brightest, photons, noise = corruptions.DARK_BRIGHTEST_PHOTONS_NOISE[MID]
    random = np.random.default_rng(0)
    value = (pixels / 255) ** 2 * brightest
    counted = np.clip(random.poisson(value * photons) / photons, 0, 1)
    return ((counted + random.normal(0, noise, pixels.shape)).clip(0, 1) * 255).astype(np.uint8)


def fog_plainly(pixels: Pixels) -> Pixels:
    """Lay the same fog; values from 0 to 1 in double precision."""
    amount, decay = corruptions.FOG_AMOUNT_DECAY[MID]
    height, width, _ = pixels.shape
    value = pixels / 255
    brightest = value.max()
    heights = fog_heights(width, decay, random_numbers(0)).astype(np.float64)
    value += amount * heights[:height, :width, None]
    return (np.clip(value * brightest / (brightest + amount), 0, 1) * 255).astype(np.uint8)


def snow_plainly(pixels: Pixels) -> Pixels:
    """Let the same flakes fall; values from 0 to 1 in double precision."""
    mix, value = corruptions.SNOW_MIX[MID], pixels / 255
    flakes = snow_flakes(pixels.shape[:2], *corruptions.SNOW_FLAKES[MID], random_numbers(0))
    layer = np.round(flakes * 255)[..., None] / 255.0
    grey = (value * (0.299, 0.587, 0.114)).sum(-1, keepdims=True)
    white = mix * value + (1 - mix) * np.maximum(value, grey * 1.5 + 0.5)
    return (np.clip(white + layer + np.rot90(layer, 2), 0, 1) * 255).astype(np.uint8)


PLAIN: dict[CorruptionName, Callable[[Pixels], Pixels]] = {
    "MotionBlur": blur_plainly,
    "Brightness": brighten_plainly,
    "LowLight": darken_plainly,
    "Fog": fog_plainly,
    "Snow": snow_plainly,
}


def per_second(work: Callable[[], object]) -> float:
    """Calls per second of the processor: the median of several, after one to warm up."""
    work()
    seconds = []
    for _ in range(REPEATS):
        start = time.process_time()
        work()
        seconds.append(time.process_time() - start)
    return 1 / max(float(np.median(seconds)), 1e-6)


def photograph() -> Pixels:
    """Soft patches of all colours with some grain, the same every time."""
    random = np.random.default_rng(0)
    patches = cv2.resize(random.uniform(0, 255, size=(18, 32, 3)), (1600, 900), interpolation=cv2.INTER_CUBIC)
    grainy = patches + random.normal(0, 4, size=patches.shape)
    return grainy.clip(0, 255).astype(np.uint8)


def main() -> None:
    """Run the benchmark and print what it measures."""
    torch.set_num_threads(1)
    cv2.setNumThreads(1)
    pixels = photograph()
    image, eye = torch.from_numpy(pixels).permute(2, 0, 1), torch.eye(4, dtype=torch.float64)
    camera = CameraRecord("CAM_FRONT", "", "", (900, 1600), eye[:3, :3], eye, eye)
    print("| corruption | images per second and core | plain |\n|---|---|---|")
    for name in NAMES:
        corruption = Corruption(name, "mid", ("CAM_FRONT", "CAM_BACK"))
        ours = per_second(partial(corruption, lambda: image, camera, "token", 0))
        plain = f"{per_second(partial(PLAIN[name], pixels)):.1f}" if name in PLAIN else ""
        print(f"| {name} | {ours:.0f} | {plain} |")


if __name__ == "__main__":
    main()
