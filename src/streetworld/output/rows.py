"""Rows of nuScenes' tables: their tokens, their rotations, and how they are chained.

Tokens are hashes of what they name, so the same world has the same tokens.
"""

import hashlib
import itertools
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float

from streetworld.request import SceneRequest

Row = dict[str, Any]


def token(*parts: object) -> str:
    """A nuScenes token (32 hex digits) for whatever the parts name."""
    return hashlib.blake2b("/".join(map(str, parts)).encode(), digest_size=16).hexdigest()


def quaternion(rotation: Float[np.ndarray, "3 3"]) -> list[float]:
    """(w, x, y, z) of a rotation matrix, w not negative."""
    m = rotation
    candidates = np.array(
        [
            [1 + m[0, 0] + m[1, 1] + m[2, 2], m[2, 1] - m[1, 2], m[0, 2] - m[2, 0], m[1, 0] - m[0, 1]],
            [m[2, 1] - m[1, 2], 1 + m[0, 0] - m[1, 1] - m[2, 2], m[0, 1] + m[1, 0], m[0, 2] + m[2, 0]],
            [m[0, 2] - m[2, 0], m[0, 1] + m[1, 0], 1 - m[0, 0] + m[1, 1] - m[2, 2], m[1, 2] + m[2, 1]],
            [m[1, 0] - m[0, 1], m[0, 2] + m[2, 0], m[1, 2] + m[2, 1], 1 - m[0, 0] - m[1, 1] + m[2, 2]],
        ]
    )
    best = candidates[int(np.argmax(np.diag(candidates)))]
    best = best / np.linalg.norm(best)
    return [float(part) for part in (best if best[0] >= 0 else -best)]


def calibration_token(request: SceneRequest, channel: str) -> str:
    """Every town has one vehicle, calibrated once."""
    rig = Path(request.rig).name  # of a file, wherever it lies
    return token(request.town.seed, rig, "calibration", request.town.number, channel)


def link(chain: list[Row]) -> None:
    """Make every row of a chain name the one before it and the one after it."""
    for before, after in itertools.pairwise(chain):
        before["next"], after["prev"] = after["token"], before["token"]
