"""Compares two data sets of one drive, as training sees them."""

from dataclasses import dataclass
from pathlib import Path

from torch import Tensor

from occfeat.data.dataset import Draw, KeyFrames
from occfeat.data.index.index import Index
from occfeat.data.sample import Batch, Contents, Sample
from occfeat.geometry.grid import VoxelGrid
from occfeat.pretraining.objectives.evidence import Evidence
from occfeat.settings.sections import DataConfig, ViewConfig
from occfeat.training.loading import collate_readable

GRID = VoxelGrid((-50.0, -50.0, -4.5), (50.0, 50.0, 5.5), (0.5, 0.5, 1.25))
"""The grid of the paper."""


@dataclass
class Differences:
    """In how many cells two data sets differ, of how many that are not empty in one of them."""

    key_frames: int = 0
    occupied: int = 0
    occupied_differ: int = 0
    labelled: int = 0
    labelled_differ: int = 0


def compare(
    first: Path, second: Path, *, sweeps: int = 1, classes: tuple[str, ...] = ("vehicle", "pedestrian")
) -> Differences:
    """Compare occupancy targets and labels of the key frames that have the same time."""
    found = Differences()
    read = [_Set(folder, sweeps, classes) for folder in (first, second)]
    for time_us in read[0].rows:
        one, other = (a_set.sample(time_us) for a_set in read)
        found.key_frames += 1
        occupied = [Evidence(_batch(sample), GRID).occupied for sample in (one, other)]
        found.occupied += int((occupied[0] | occupied[1]).sum())
        found.occupied_differ += int((occupied[0] ^ occupied[1]).sum())
        labels = [_target(sample) for sample in (one, other)]
        found.labelled += int((labels[0] | labels[1]).sum())
        found.labelled_differ += int((labels[0] ^ labels[1]).sum())
    return found


class _Set:
    """The key frames of a data set by time in microseconds."""

    def __init__(self, folder: Path, sweeps: int, classes: tuple[str, ...]) -> None:
        index = Index.open(DataConfig(root=folder))
        view = ViewConfig(image_size=(16, 24), sweeps=sweeps)
        self.key_frames = KeyFrames(index, view, Contents(points=True, classes=classes), grid=GRID)
        self.rows = {index.key_frame(row).timestamp_us: row for row in range(len(index))}

    def sample(self, time_us: int) -> Sample:
        """Read the key frame of a time."""
        sample = self.key_frames.read(Draw(self.rows[time_us], 0))
        assert isinstance(sample, Sample), sample.message
        return sample


def _batch(sample: Sample) -> Batch:
    """Return a batch of one sample."""
    batch = collate_readable([sample]).batch
    assert batch is not None
    return batch


def _target(sample: Sample) -> Tensor:
    """Return the labels of a sample."""
    assert sample.labels is not None
    return sample.labels.target
