"""What a scene is made from."""

from dataclasses import dataclass

import numpy as np

from streetworld.custom_rigs import load_rig
from streetworld.rigs import Rig
from streetworld.town.lots import TownRequest


@dataclass(frozen=True)
class SceneRequest:
    """What a scene is made from; equal requests give equal scenes."""

    name: str
    town: TownRequest
    number: int
    """Number of the scene in its split; scenes differ by it."""
    key_frames: int
    rig: str
    image_size: tuple[int, int]
    lights: tuple[str, ...]
    sweeps: int
    truth: bool
    sweep_hz: int = 20
    """Sweeps per second between key frames."""

    def mounted_rig(self) -> Rig:
        """Return the rig as it sits on the vehicle of the town."""
        rng = np.random.default_rng((self.town.seed, self.town.number, 7))
        return load_rig(self.rig).calibrated(rng)

    def rng(self, purpose: int, *moment: int) -> np.random.Generator:
        """Return the random numbers for one purpose in this scene, whatever else is drawn."""
        return np.random.default_rng((self.town.seed, self.town.number, self.number, purpose, *moment))
