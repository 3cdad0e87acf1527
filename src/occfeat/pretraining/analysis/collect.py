"""Predictions, teacher features and classes of the voxels of key frames.

Axes: `K` voxels, `F` feature channels, `X Y Z` voxels of the grid.
"""

from collections.abc import Iterable
from dataclasses import dataclass, replace

import torch
from jaxtyping import Float, Int64
from torch import Tensor

from occfeat.data.dataset import KeyFrames
from occfeat.data.keyframe import KeyFrame
from occfeat.data.maps.maps import find_ground
from occfeat.data.sample.sample import Sample, collate
from occfeat.errors import SettingsError
from occfeat.pretraining.analysis.naming import LAYERS, name_voxels
from occfeat.pretraining.analysis.scores import overlap_by_distance
from occfeat.pretraining.network import PretrainingNetwork
from occfeat.pretraining.objectives.evidence import Evidence
from occfeat.pretraining.objectives.features import seen_cells
from occfeat.teacher.network import Teacher
from occfeat.training.overlap import Overlap, is_likely

EDGES_M = (0.0, 10.0, 20.0, 30.0, 40.0, 50.0, 75.0)
"""Borders of the distance rings around the ego vehicle."""

TEACHER, STUDENT, BEV = "teacher", "student", "bev"
"""Kinds of features: the teacher's in a voxel, the student's prediction of them, and the student's BEV
features of the voxel's column, from which fine-tuning starts."""
Features = dict[str, Float[Tensor, "K F"]]
"""Features of voxels by kind; a run without distillation has only BEV features."""


@dataclass(frozen=True)
class Seen:
    """Occupied voxels of one key frame that are visible in a camera."""

    sample: Sample
    cells: Int64[Tensor, "K 3"]
    centers_ego: Float[Tensor, "K 3"]
    names: Int64[Tensor, " K"]
    """Class of each voxel, as an index into `naming.NAMES`."""
    features: Features
    centered: bool
    """Whether the centre of pretraining is subtracted from the features of teacher and student."""
    overlap: dict[str, Overlap]
    """Predicted and true occupancy by distance, over the whole grid; empty if not trained."""


@dataclass(frozen=True)
class Collected:
    """Concatenated voxels of several key frames."""

    key_frame: Int64[Tensor, " K"]
    distance_m: Float[Tensor, " K"]
    names: Int64[Tensor, " K"]
    features: Features
    occupancy: dict[str, dict[str, float]]
    """IoU, precision and recall by distance, pooled over the key frames."""


@torch.inference_mode()
def see(
    network: PretrainingNetwork,
    teacher: Teacher | None,
    key_frames: KeyFrames,
    row: int,
    data_set: str = "",
) -> Seen:
    """Run a pretrained network on one key frame.

    Args:
        network: Student and pretraining head, in evaluation.
        teacher: The teacher of pretraining; None without distillation, or if key frames carry its features.
        key_frames: With images, points and the teacher's part, without augmentation.
        row: Row of the key frame.
        data_set: Name of its data set among several of pretraining, if it was one of them.

    Raises:
        KeyFrameError: It cannot be read.
    """
    sample = replace(key_frames.sample(row), data_set=data_set)
    device = next(network.parameters()).device
    batch = collate([sample]).to(device)
    grid, key_frame = key_frames.grid, key_frames.index.key_frame(row)
    taxonomy = key_frames.index.taxonomy
    evidence = Evidence(batch, grid, teacher, network.usual_maps())
    views = network.see(batch.images, batch.cameras)
    features = {}
    if (compared := network.compare_features(views, evidence)) is None:
        batch_cells = seen_cells(evidence.occupied, batch.cameras, grid)
    else:
        batch_cells = compared.cells
        features = {TEACHER: compared.taught, STUDENT: compared.predicted}
    features[BEV] = views["bev"][0, :, batch_cells[:, 1], batch_cells[:, 2]].T
    cells = batch_cells[:, 1:].cpu()
    all_centers_ego, overlap = grid.centers(), {}
    if (probability := network.occupancy_probability(views)) is not None:
        distance_m = all_centers_ego[..., :2].norm(dim=-1)
        predicted, true = is_likely(probability[0].cpu()), evidence.occupied[0].cpu()
        overlap = overlap_by_distance(predicted, true, distance_m, EDGES_M)
    return Seen(
        sample=sample,
        cells=cells,
        centers_ego=all_centers_ego[tuple(cells.unbind(1))],
        names=name_voxels(cells, key_frame.boxes, taxonomy, draw_layers(key_frames, key_frame), grid),
        features={whose: values.float().cpu() for whose, values in features.items()},
        centered=compared is not None and compared.centered,
        overlap=overlap,
    )


def draw_layers(key_frames: KeyFrames, key_frame: KeyFrame) -> dict[str, Tensor]:
    """Draw the map layers under the car; only those of the base map without a map expansion."""
    still = torch.eye(4, dtype=torch.float64)
    for layers in (LAYERS, ("drivable_area",)):
        try:
            ground = find_ground(key_frames.index.source, key_frame, layers)
        except SettingsError:
            continue
        if ground is not None:
            return {name: ground.draw(name, still, key_frames.grid.bev) for name in layers}
    return {}


def collect(seen: Iterable[Seen], per_key_frame: int, seed: int = 0) -> Collected:
    """Concatenate key frames, with at most `per_key_frame` random voxels of each."""
    random = torch.Generator().manual_seed(seed)
    parts: list[tuple[Tensor, ...]] = []
    totals: dict[str, Overlap] = {}
    whose: list[str] = []
    for number, one in enumerate(seen):
        chosen = torch.randperm(len(one.cells), generator=random)[:per_key_frame]
        distance_m = one.centers_ego[chosen, :2].norm(dim=1)
        at, whose = torch.full((len(chosen),), number), list(one.features)
        parts.append((at, distance_m, one.names[chosen], *(one.features[who][chosen] for who in whose)))
        for ring, counts in one.overlap.items():
            totals[ring] = totals[ring] + counts if ring in totals else counts
    key_frame, distance_m, names, *features = map(torch.cat, zip(*parts, strict=True))
    occupancy = {ring: _shares(counts) for ring, counts in totals.items() if counts.true}
    return Collected(key_frame, distance_m, names, dict(zip(whose, features, strict=True)), occupancy)


def _shares(counts: Overlap) -> dict[str, float]:
    """Return IoU, precision and recall of a ring with true voxels; precision is 0 without predictions."""
    precision = counts.precision.value() if counts.predicted else 0.0
    return {"iou": counts.iou.value(), "precision": precision, "recall": counts.recall.value()}
