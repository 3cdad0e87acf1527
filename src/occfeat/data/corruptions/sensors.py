"""Failing cameras: in a whole data set, or in single key frames.

Both are nuScenes-C's (RoboBEV, arXiv 2304.06719). Their images are black, without a mark for the network.
"""

import numpy as np


def crashed_cameras(channels: tuple[str, ...], draws: int, random: np.random.Generator) -> frozenset[str]:
    """Draw the cameras that are dead in a whole data set.

    Args:
        channels: All cameras of the data set.
        draws: Number of draws with replacement, so fewer cameras can be dead.
        random: Generator of the draws.
    """
    return frozenset(channels[int(i)] for i in random.integers(len(channels), size=draws))


def frame_is_lost(probability: float, random: np.random.Generator) -> bool:
    """Draw whether one camera loses one image."""
    return bool(random.random() < probability)
