"""Corruptions as augmentation of training key frames."""

from dataclasses import dataclass

from jaxtyping import UInt8
from torch import Tensor

from occfeat.data.corruptions.corruptions import SEVERITIES, Corruption, chosen, random_numbers
from occfeat.data.dataset import ImageReader
from occfeat.data.keyframe import CameraRecord
from occfeat.settings.sections import AugmentConfig, CorruptionName


def training_effect(
    config: AugmentConfig, channels: tuple[str, ...], seed: int
) -> "OccasionalCorruption | None":
    """Return the effect on training images before augmentation; None without corruptions.

    Args:
        config: The settings.
        channels: All cameras of the data set.
        seed: Seed of the run.
    """
    names = chosen(config.corruptions)
    if not names or config.corruption_probability == 0:
        return None
    return OccasionalCorruption(names, config.corruption_probability, channels, seed)


@dataclass(frozen=True)
class OccasionalCorruption:
    """With some probability, applies one of several corruptions at a random severity to a whole key frame.

    The crashed cameras of `CameraCrash` are drawn for each key frame and epoch.
    """

    names: tuple[CorruptionName, ...]
    probability: float
    channels: tuple[str, ...]
    seed: int

    def __call__(
        self, read: ImageReader, camera: CameraRecord, token: str, epoch: int
    ) -> UInt8[Tensor, "3 H W"]:
        """Return the image, corrupted or unchanged.

        Raises:
            KeyFrameError: It cannot be read, or is too small to be corrupted.
        """
        corruption = self.draw(token, epoch)
        return read() if corruption is None else corruption(read, camera, token, epoch)

    def draw(self, token: str, epoch: int) -> Corruption | None:
        """Draw the corruption of a key frame in an epoch; None for no corruption."""
        random = random_numbers(self.seed, token, epoch)
        if random.random() >= self.probability:
            return None
        name = self.names[random.integers(len(self.names))]
        severity = SEVERITIES[random.integers(len(SEVERITIES))]
        return Corruption(name, severity, self.channels, seed=int(random.integers(1 << 62)))
