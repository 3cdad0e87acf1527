"""A made-up photograph: even areas, edges, ramps and grain, dark and bright parts, all colours."""

import numpy as np
from numpy.typing import NDArray


def made_up_image(height: int, width: int, seed: int = 0) -> NDArray[np.uint8]:
    random = np.random.default_rng(seed)
    rows, columns = np.mgrid[0:height, 0:width]
    ramp = np.stack((rows / height, columns / width, 1 - rows / height), axis=-1)
    image = 40 + 150 * ramp
    for _ in range(30):
        top, left = random.integers(height), random.integers(width)
        high, wide = random.integers(4, height // 2), random.integers(4, width // 2)
        image[top : top + high, left : left + wide] = random.uniform(0, 255, size=3)
    image += random.normal(0, 6, size=image.shape) * (columns < width / 2)[..., None]
    image[: height // 20], image[-height // 20 :] = 0, 255
    return image.clip(0, 255).astype(np.uint8)
