"""Compares two data sets of one street, as training sees them: targets of pretraining, and labels.

Features are compared if a teacher is given.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor

from occfeat.data.dataset import KeyFrames
from occfeat.data.index.index import Index
from occfeat.data.sample.contents import Contents, ImagesForTeacher
from occfeat.data.sample.sample import Sample
from occfeat.geometry.grid import VoxelGrid
from occfeat.pretraining.objectives.evidence import Evidence
from occfeat.pretraining.objectives.features import FeatureTarget, feature_target
from occfeat.settings.sections import DataConfig, ViewConfig
from occfeat.teacher.network import Teacher
from occfeat.training.loading.loaders import collate_readable

GRID = VoxelGrid((-50.0, -50.0, -4.5), (50.0, 50.0, 5.5), (0.5, 0.5, 1.25))
"""The grid of the paper."""
TEACHER_SIZE = (64, 112)
SAME_COSINE = 0.9999


@dataclass
class Count:
    """Cells that are not empty in one of two data sets, and those that differ."""

    cells: int = 0
    differ: int = 0

    def add(self, first: Tensor, other: Tensor) -> None:
        """Count the cells of one key frame."""
        self.cells += int((first | other).sum())
        self.differ += int((first ^ other).sum())

    @property
    def share(self) -> float:
        """Share of the cells that differ."""
        return self.differ / max(self.cells, 1)


@dataclass
class Differences:
    """How two data sets of one street differ."""

    key_frames: int = 0
    occupied: Count = field(default_factory=Count)
    seen: Count = field(default_factory=Count)
    """Voxels with a feature target."""
    features: Count = field(default_factory=Count)
    """Voxels with a feature target in both: how many have another feature."""
    labels: dict[str, Count] = field(default_factory=dict)


@dataclass(frozen=True)
class Door:
    """A data set that was written in some format, with its cameras in the order of the original's."""

    root: Path
    cameras: tuple[str, ...] = ()
    """Empty: all cameras, in the order of the data set."""
    scene: str | None = None
    """None: all scenes."""


class _Street:
    """Reads the key frames of a data set by their time."""

    def __init__(self, door: Door, classes: Sequence[str], sweeps: int, *, for_teacher: bool) -> None:
        index = Index.open(DataConfig(root=door.root))
        view = ViewConfig(image_size=(64, 112), cameras=door.cameras, sweeps=sweeps)
        images = ImagesForTeacher(TEACHER_SIZE) if for_teacher else None
        contents = Contents(points=True, classes=tuple(classes), teacher=images)
        self.key_frames = KeyFrames(index, view, contents, grid=GRID)
        frames = [index.key_frame(row) for row in range(len(index))]
        here = [row for row, frame in enumerate(frames) if door.scene in (None, frame.scene)]
        self.rows = {frames[row].timestamp_us: row for row in here}

    def sample(self, time_us: int) -> Sample:
        """Read the key frame of a time."""
        return self.key_frames.sample(self.rows[time_us])


def compare(
    first: Door, other: Door, teacher: Teacher | None, classes: Sequence[str] = (), sweeps: int = 1
) -> Differences:
    """Compare all key frames of two data sets, which must have the same times."""
    found = Differences(labels={name: Count() for name in classes})
    streets = [_Street(door, classes, sweeps, for_teacher=teacher is not None) for door in (first, other)]
    assert streets[0].rows.keys() == streets[1].rows.keys()
    for time_us in streets[0].rows:
        one, two = (street.sample(time_us) for street in streets)
        found.key_frames += 1
        evidences = [_evidence(sample, teacher) for sample in (one, two)]
        found.occupied.add(evidences[0].occupied, evidences[1].occupied)
        if teacher is not None:
            _compare_features(found, *(_features(evidence) for evidence in evidences))
        for channel, name in enumerate(classes):
            assert one.labels is not None
            assert two.labels is not None
            found.labels[name].add(one.labels.target[channel], two.labels.target[channel])
    return found


def _evidence(sample: Sample, teacher: Teacher | None) -> Evidence:
    """What the targets of a key frame are made from."""
    batch = collate_readable([sample]).batch
    assert batch is not None
    return Evidence(batch, GRID, teacher)


@torch.inference_mode()
def _features(evidence: Evidence) -> FeatureTarget:
    """Feature targets of a key frame."""
    return feature_target(evidence.occupied, evidence.teacher_maps, evidence.teacher_cameras, GRID)


def _compare_features(found: Differences, first: FeatureTarget, other: FeatureTarget) -> None:
    """Compare which voxels have a feature, and the features of those that have one in both."""
    dense = [torch.full(GRID.shape, -1) for _ in range(2)]
    for places, target in zip(dense, (first, other), strict=True):
        places[tuple(target.cells[:, 1:].T)] = torch.arange(len(target.cells))
    seen = [places >= 0 for places in dense]
    found.seen.add(*seen)
    both = seen[0] & seen[1]
    rows = [places[both] for places in dense]
    cosine = F.cosine_similarity(first.features[rows[0]], other.features[rows[1]])
    found.features.cells += len(cosine)
    found.features.differ += int((cosine < SAME_COSINE).sum())
