"""Cameras that fail: for a whole set, or now and then.

Both are nuScenes-C's (RoboBEV, arXiv 2304.06719). The images are black; nothing tells the network so.
"""

import numpy as np


def crashed_cameras(channels: tuple[str, ...], draws: int, random: np.random.Generator) -> frozenset[str]:
    """Draw the cameras that are dead for a whole data set.

    Args:
        channels: All cameras of the set.
        draws: How often one is drawn; a camera can be drawn again, so fewer may be dead.
        random: Decides which.
    """
    return frozenset(channels[int(i)] for i in random.integers(len(channels), size=draws))


def frame_is_lost(probability: float, random: np.random.Generator) -> bool:
    """Draw whether one camera loses one image."""
    return bool(random.random() < probability)
