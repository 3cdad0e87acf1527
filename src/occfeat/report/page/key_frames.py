"""What the runs of a report predict on key frames: probabilities of classes, or occupancy and features.

Axes: `B` key frames, `K` classes, `X Y` BEV cells, `X Y Z` voxels.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from jaxtyping import Bool, Float
from rich.console import Console
from rich.progress import track
from torch import Tensor

from occfeat.data.dataset import KeyFrames
from occfeat.data.index.index import Index
from occfeat.data.sample.contents import Contents
from occfeat.data.sample.sample import Batch, Labels, Sample, collate
from occfeat.errors import RunError
from occfeat.geometry.grid import build_grid
from occfeat.pretraining.objectives.evidence import occupancy_target
from occfeat.pretraining.restore import load_network
from occfeat.release.shipped import load_model
from occfeat.report.page.page import Frame, Picture
from occfeat.report.page.runs import RunFiles
from occfeat.report.pictures.camera_images import natural_rows
from occfeat.report.pictures.embedded import cells_uri, image_uri, numbers_uri, probability_uri, truth_uri
from occfeat.report.pictures.palette import HEIGHT_COLORS
from occfeat.report.pictures.topdown import colors_from_above, common_colors, height_from_above
from occfeat.segmentation.metrics import overlap_by_class
from occfeat.segmentation.task import labels_of
from occfeat.settings.commands import PretrainConfig
from occfeat.training.overlap import is_likely, overlap

MOST_VOXELS = 10_000
"""Voxels of a key frame whose features are shown. Of more voxels every second, third … is shown."""
BASIS_VOXELS = 2_000
"""Voxels of each key frame from which the colour basis of features is computed."""
MEAN = "mean of fine-tuned runs"
"""Name of the score that comes first if there are several of them."""


@dataclass(frozen=True)
class Prediction:
    """What one run predicts for one key frame."""

    sample: Sample
    channels: tuple[str, ...]
    """Names of the sample's cameras."""
    truth: list[Picture]
    panels: list[Picture]
    what: Literal["classes", "occupancy"]
    """What is predicted."""
    score: float | None
    """Its IoU, the mean over classes; None if nothing is true or predicted."""


class SegmentationPredictor:
    """Predictions of a fine-tuned network.

    Args:
        run: Finished run with weights.
        index: The set.
        device: Where to compute.
    """

    def __init__(self, run: RunFiles, index: Index, device: torch.device) -> None:
        if run.card is None:
            raise RunError(f"{run.path} has not finished.", hint="Leave it out, or let it finish.")
        self.name, self.model = run.name, load_model(run.path, device)
        grid, classes = build_grid(run.card.grid), run.card.classes
        self.key_frames = KeyFrames(index, run.card.view, Contents(classes=classes), grid=grid)
        self.device = device

    def score(self, row: int) -> float | None:
        """Return the mean IoU over the classes in one key frame."""
        batch = collate([self.key_frames.sample(row)])
        return mean_of_known(ious(self._probability(batch), labels_of(batch)).values())

    def predict(self, rows: Sequence[int]) -> list[Prediction]:
        """Return the predictions for some key frames."""
        return [self._prediction(self.key_frames.sample(row)) for row in rows]

    def _prediction(self, sample: Sample) -> Prediction:
        """Draw true and predicted BEV of each class of one key frame."""
        batch = collate([sample])
        probability, labels, grid = self._probability(batch), labels_of(batch), self.model.grid
        scores, truth, panels = ious(probability, labels), [], []
        for column, name in enumerate(labels.classes):
            target, low_visibility = labels.target[0, column], labels.low_visibility[0, column]
            pale = "; pale: visibility 0-40 %" if low_visibility.any() else ""
            truth.append(Picture(truth_uri(target, low_visibility, name, grid), f"true {name}{pale}"))
            iou = f", IoU {scores[name]:.3f}" if name in scores else ""
            caption = f"{self.name}: probability of {name}{iou}"
            panels.append(Picture(probability_uri(probability[0, column], target, grid), caption))
        score, channels = mean_of_known(scores.values()), self.key_frames.channels
        return Prediction(sample, channels, truth, panels, "classes", score)

    def _probability(self, batch: Batch) -> Float[Tensor, "B K X Y"]:
        """Return the probability of each class on the CPU."""
        moved = batch.to(self.device)
        probability: Tensor = self.model(moved.images, moved.cameras)
        return probability.cpu()


def ious(probability: Float[Tensor, "B K X Y"], labels: Labels) -> dict[str, float]:
    """Return the IoU of each class that occurs or is predicted, without cells of low visibility."""
    found = overlap_by_class(is_likely(probability), labels, "visible")
    return {
        name: of_class.iou.value()
        for name, of_class in zip(labels.classes, found, strict=True)
        if of_class.union
    }


class PretrainingPredictor:
    """Predictions of a pretrained network: occupancy, and features of occupied voxels.

    Args:
        run: Finished run with a checkpoint.
        settings: Its settings.
        index: The set.
        rows: Key frames that will be predicted. True occupancy needs a LiDAR file for each.
        device: Where to compute.
    """

    def __init__(
        self, run: RunFiles, settings: PretrainConfig, index: Index, rows: Sequence[int], device: torch.device
    ) -> None:
        self.name, self.grid, self.device = run.name, build_grid(settings.grid), device
        self.network = load_network(run.path, settings).to(device)
        points = all(index.has_lidar_file(row) for row in rows)
        self.key_frames = KeyFrames(index, settings.view, Contents(points=points), grid=self.grid)

    @torch.inference_mode()
    def predict(self, rows: Sequence[int]) -> list[Prediction]:
        """Return the predictions for some key frames; equal colours are equal features in all of them."""
        samples = [self.key_frames.sample(row) for row in rows]
        seen = [self._see(collate([sample]).to(self.device)) for sample in samples]
        pictures = self._feature_pictures(seen)
        return [self._prediction(*one) for one in zip(samples, seen, pictures, strict=True)]

    def _see(self, batch: Batch) -> "_Voxels":
        """Return occupancy and features that the network predicts for one key frame."""
        views = self.network.see(batch.images, batch.cameras)
        probability, predicted, occupied = self.network.occupancy_probability(views), None, None
        if probability is not None:
            predicted = is_likely(probability[0])
        if batch.points is not None:
            occupied = occupancy_target(batch.points, 1, self.grid)[0]
        shown = predicted if occupied is None else occupied
        cells = batch.images.new_zeros((0, 4), dtype=torch.int64) if shown is None else shown[None].nonzero()
        cells = cells[:: max(1, -(-len(cells) // MOST_VOXELS))]
        features = self.network.features_at(views, cells)
        return _Voxels(
            None if predicted is None else predicted.cpu(),
            None if occupied is None else occupied.cpu(),
            cells[:, 1:].cpu(),
            None if features is None else features.float().cpu(),
        )

    def _prediction(self, sample: Sample, seen: "_Voxels", features: list[Picture]) -> Prediction:
        """Draw true and predicted occupancy of one key frame beside its features."""
        score, truth, panels = None, [], []
        if seen.occupied is not None:
            truth = [self._heights(seen.occupied, "true occupancy: low is dark, high is light")]
        if seen.predicted is not None:
            score = seen.iou()
            iou = "" if score is None else f", IoU {score:.3f}"
            panels = [self._heights(seen.predicted, f"{self.name}: occupancy{iou}")]
        return Prediction(sample, self.key_frames.channels, truth, [*panels, *features], "occupancy", score)

    def _heights(self, voxels: Bool[Tensor, "X Y Z"], caption: str) -> Picture:
        """Draw the height of the highest voxel of each column."""
        values, limits = height_from_above(voxels, self.grid), (self.grid.lower_m[2], self.grid.upper_m[2])
        return Picture(numbers_uri(values, self.grid.bev, colors=HEIGHT_COLORS, limits=limits), caption)

    def _feature_pictures(self, seen: Sequence["_Voxels"]) -> list[list[Picture]]:
        """Draw the features of each key frame from above, in one basis for all of them."""
        features = [one.features for one in seen if one.features is not None]
        basis = (
            torch.cat([one[:: max(1, len(one) // BASIS_VOXELS)] for one in features]) if features else None
        )
        if basis is None or len(basis) < 3:  # fewer have no three principal components
            return [[] for _ in seen]
        _, colors = common_colors(basis, torch.cat(features))
        paints = torch.split(colors, [len(one) for one in features])
        shape, caption = self.grid.bev.shape, f"{self.name}: features; equal colours are equal features"
        return [
            [Picture(cells_uri(colors_from_above(one.cells, paint, shape), self.grid.bev), caption)]
            for one, paint in zip(seen, paints, strict=True)
        ]


@dataclass(frozen=True)
class _Voxels:
    """What a pretrained network predicts for one key frame, on the CPU."""

    predicted: Bool[Tensor, "X Y Z"] | None
    """None if the network does not predict occupancy."""
    occupied: Bool[Tensor, "X Y Z"] | None
    """None if a LiDAR file is missing."""
    cells: Tensor
    features: Tensor | None

    def iou(self) -> float | None:
        """Return the IoU of occupancy; None if it is unknown, or if nothing is true or predicted."""
        if self.occupied is None or self.predicted is None:
            return None
        found = overlap(self.predicted, self.occupied)
        return found.iou.value() if found.union else None


def mean_of_known(values: Iterable[float | None]) -> float | None:
    """Return the mean of the known values; None if none is known."""
    known = [value for value in values if value is not None]
    return sum(known) / len(known) if known else None


def worst_rows(rows: Sequence[int], count: int, networks: Sequence[SegmentationPredictor]) -> list[int]:
    """Return the key frames with the lowest mean IoU, by time."""
    scores = {}
    for row in track(rows, "searching the worst", console=Console(stderr=True)):
        score = mean_of_known(network.score(row) for network in networks)
        scores[row] = 2.0 if score is None else score  # nothing is true or predicted: shown last
    return sorted(sorted(rows, key=lambda row: scores[row])[:count])


def frames_of(
    index: Index, rows: Sequence[int], predictions: Mapping[str, Sequence[Prediction]]
) -> list[Frame]:
    """Return one frame per key frame, with the predictions of every run.

    Args:
        index: The set.
        rows: Key frames.
        predictions: By run, one per key frame.
    """
    return [
        _frame(index, row, {name: one[position] for name, one in predictions.items()})
        for position, row in enumerate(rows)
    ]


def _frame(index: Index, row: int, predictions: Mapping[str, Prediction]) -> Frame:
    """Return one key frame with the predictions of every run."""
    shown = next(iter(predictions.values()))
    truth = {picture.caption: picture for prediction in predictions.values() for picture in prediction.truth}
    scores = {name: prediction.score for name, prediction in predictions.items()}
    of_classes = [prediction.score for prediction in predictions.values() if prediction.what == "classes"]
    if len(of_classes) > 1:
        scores = {MEAN: mean_of_known(of_classes), **scores}
    scene = index.scene_of(np.array([row]))[0]
    return Frame(
        title=f"{scene}, key frame {index.token(row)}",
        images=_images(shown.sample, shown.channels),
        panels=[
            *truth.values(),
            *(picture for prediction in predictions.values() for picture in prediction.panels),
        ],
        scores={name: score for name, score in scores.items() if score is not None},
    )


def _images(sample: Sample, channels: Sequence[str]) -> list[list[Picture]]:
    """Return the images in the rows in which one sees them from the car."""
    present = sample.cameras.present
    return [
        [
            Picture(
                image_uri(sample.images[camera]),
                channels[camera] + ("" if present[camera] else " (missing)"),
            )
            for camera in row
        ]
        for row in natural_rows(sample.cameras)
    ]
