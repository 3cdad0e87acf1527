"""Oracle: what imagecorruptions makes of an image. Runs in an environment of its own.

    python corruptions_imagenet.py IMAGE.npy OUT.npz

Writes corrupted images with what was drawn for them, many fog maps, and many layers of snow. Needs
imagecorruptions 1.1.2 with numpy 1.23, scikit-image 0.20, scipy 1.10 and setuptools below 70.
"""

import sys

import numpy as np
from imagecorruptions import corrupt
from imagecorruptions.corruptions import plasma_fractal

LEVELS = {"motion_blur": (2, 4, 5), "brightness": (2, 4, 5), "fog": (2, 4, 5), "snow": (1, 2, 3)}
DECAYS = (2.0, 1.5, 1.4)
DRAWS = 100


def seeded(image, name, level, seed):
    """One corrupted image."""
    np.random.seed(seed)
    return corrupt(image, corruption_name=name, severity=level)


def main(image_file, out):
    """Write everything to one file."""
    image = np.load(image_file, allow_pickle=False)
    arrays = {}
    for name, levels in LEVELS.items():
        for i, level in enumerate(levels):
            for seed in range(6):
                arrays[f"{name}/{i}/{seed}"] = seeded(image, name, level, seed)
    for seed in range(6):
        np.random.seed(seed)
        arrays[f"angle/{seed}"] = np.random.uniform(-45, 45)
        for i, decay in enumerate(DECAYS):
            np.random.seed(seed)
            arrays[f"heights/{i}/{seed}"] = plasma_fractal(512, decay).astype(np.float32)
    for i, decay in enumerate(DECAYS):
        np.random.seed(100 + i)
        arrays[f"maps/{i}"] = np.stack([plasma_fractal(256, decay) for _ in range(DRAWS)]).astype(np.float32)
    black = np.zeros_like(image)
    for i, level in enumerate(LEVELS["snow"]):
        arrays[f"snow_on_black/{i}"] = np.stack(
            [seeded(black, "snow", level, seed)[..., 0] for seed in range(DRAWS)]
        )
    np.savez_compressed(out, **arrays)


if __name__ == "__main__":
    main(*sys.argv[1:])
