"""Recordings in folders that are recognised by their content."""

from collections.abc import Callable, Sequence
from pathlib import Path

from occfeat.data.recordings.kitti.drive import find_recordings as find_kitti
from occfeat.data.recordings.recording import Recording
from occfeat.data.recordings.waymo.recording import find_recordings as find_waymo

DOORS: tuple[Callable[..., list[Recording]], ...] = (find_waymo, find_kitti)
"""Each returns the recordings of one format in a folder, and none of a folder of something else."""


def find_recordings(paths: Sequence[Path], *, key_hz: float, sweeps: bool) -> list[Recording]:
    """Return the recordings in folders of known formats; none if one of them is something else.

    Args:
        paths: The folders.
        key_hz: Key frames per second.
        sweeps: Keep the LiDAR sweeps between key frames.

    Raises:
        DatasetError: A recording lacks files, or is damaged.
    """
    found = []
    for path in paths:
        opened = (door(path, key_hz=key_hz, sweeps=sweeps) for door in DOORS)
        recordings = next((some for some in opened if some), [])
        if not recordings:
            return []
        found += recordings
    return found
