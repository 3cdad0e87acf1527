"""Rows of nuScenes' tables: tokens, transforms and links.

Tokens are hashes of names, so a data set that is written twice has the same tokens.
"""

import hashlib
import itertools
from typing import Any

import numpy as np
from jaxtyping import Real

Row = dict[str, Any]


def token(*parts: object) -> str:
    """Return the token (32 hexadecimal digits) of some names."""
    return hashlib.blake2b("/".join(map(str, parts)).encode(), digest_size=16).hexdigest()


def transform(pose: Real[np.ndarray, "4 4"]) -> Row:
    """Return the fields `translation` (metres) and `rotation` (quaternion) of a rigid transform."""
    return {"translation": [float(part) for part in pose[:3, 3]], "rotation": quaternion(pose[:3, :3])}


def quaternion(rotation: Real[np.ndarray, "3 3"]) -> list[float]:
    """Return (w, x, y, z) of a rotation matrix, with w >= 0."""
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


def link(chain: list[Row]) -> None:
    """Link every row of a chain to the previous and the next one."""
    for before, after in itertools.pairwise(chain):
        before["next"], after["prev"] = after["token"], before["token"]
