"""The moments of a scene that `occfeat view` records: key frames, coloured voxels and predictions."""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Int64
from matplotlib import colormaps
from numpy.typing import NDArray
from torch import Tensor

from occfeat.data.dataset import KeyFrames
from occfeat.data.index.index import Index
from occfeat.data.sample.contents import Contents
from occfeat.data.sample.lidar import Points
from occfeat.data.sample.sample import collate
from occfeat.data.sweeps.by_time import read_by_time
from occfeat.errors import KeyFrameError, RunError
from occfeat.geometry.grid import VoxelGrid, build_grid
from occfeat.pretraining.objectives.evidence import occupancy_target
from occfeat.pretraining.restore import load_pretraining
from occfeat.release.shipped import ShippedModel, load_model
from occfeat.report.pictures.palette import HEIGHT_COLORS
from occfeat.report.pictures.topdown import common_colors
from occfeat.report.viewer import BevLayers, Moment, TimedPoints, Voxels
from occfeat.runs.folder import RunFolder
from occfeat.segmentation.task import labels_of
from occfeat.settings.commands import ViewerConfig

Rows = NDArray[np.int64]
"""Rows of the index."""


@dataclass(frozen=True)
class Predictor:
    """A fine-tuned network and the key frames in the form it takes."""

    model: ShippedModel
    key_frames: KeyFrames

    def layers(self, row: int) -> BevLayers:
        """Return the predictions for a key frame."""
        batch = collate([self.key_frames.sample(row)])
        probabilities = self.model(batch.images, batch.cameras)[0]
        return BevLayers(self.model.classes, probabilities, self.model.grid)


def record(config: ViewerConfig, index: Index, rows: Rows) -> Iterator[Moment]:
    """Yield all that is shown of each key frame, in their order; without a LiDAR file, its images and boxes.

    Raises:
        OccFeatError: A run or a key frame cannot be used.
    """
    predictor = None if config.run is None else _predictor(config.run, index)
    swept = np.array([index.has_lidar_file(row) for row in rows], dtype=bool)
    painted = {}
    if config.pretraining is not None and swept.any():
        painted = voxels_by_features(config.pretraining, index, rows[swept])
    grid = build_grid(config.grid)
    contents = Contents(classes=config.classes)
    seen = {
        has_lidar: KeyFrames(index, config.view, replace(contents, points=has_lidar), grid=grid)
        for has_lidar in set(swept.tolist())
    }
    for row, has_lidar in zip(rows.tolist(), swept.tolist(), strict=True):
        sample = seen[has_lidar].sample(row)
        points, labels = sample.points, labels_of(sample)
        yield Moment(
            key_frame=index.key_frame(row),
            images=sample.images,
            cameras=sample.cameras,
            channels=seen[has_lidar].channels,
            points_ego=None if points is None else points.points_ego,
            voxels=None if points is None else painted.get(row, voxels_by_height(points, grid)),
            labels=BevLayers(labels.classes, labels.target.float(), grid.bev),
            predicted=None if predictor is None else predictor.layers(row),
            window=_window(config, index, row) if config.window_s else None,
        )


def _window(config: ViewerConfig, index: Index, row: int) -> TimedPoints:
    """Return the returns of all sweeps around a key frame."""
    return TimedPoints(*read_by_time(index, config.view, row, config.window_s), config.window_s)


def occupied_cells(points: Points, grid: VoxelGrid) -> Int64[Tensor, "K 3"]:
    """Return the voxels that hold a LiDAR return of a key frame."""
    return occupancy_target(points, 1, grid)[0].nonzero()


def _predictor(run: Path, index: Index) -> Predictor:
    """Load a fine-tuned run."""
    model = load_model(RunFolder.of(run).path)
    key_frames = KeyFrames(index, model.card.view, Contents(), grid=build_grid(model.card.grid))
    return Predictor(model, key_frames)


def voxels_by_height(points: Points, grid: VoxelGrid) -> Voxels:
    """Return occupied voxels, coloured by their height."""
    centers_ego = grid.centers()[tuple(occupied_cells(points, grid).unbind(1))]
    share = (centers_ego[:, 2] - grid.lower_m[2]) / (grid.upper_m[2] - grid.lower_m[2])
    colors = torch.from_numpy(colormaps[HEIGHT_COLORS](share.numpy())[:, :3]).float()
    return Voxels(centers_ego, grid.cell_m, colors)


@torch.inference_mode()
def voxels_by_features(run: Path, index: Index, rows: Rows) -> dict[int, Voxels]:
    """Return occupied voxels by key frame, coloured by the features that a pretraining run predicts.

    All key frames share one PCA basis, so that a colour means the same everywhere.

    Raises:
        RunError: The folder is not a finished pretraining run, or the run distilled no features.
        KeyFrameError: A key frame cannot be read.
    """
    network, config = load_pretraining(RunFolder.of(run).path)
    grid = build_grid(config.grid)
    key_frames = KeyFrames(index, config.view, Contents(points=True), grid=grid, rows=rows)
    cells, features = [], []
    for row in map(int, rows):
        batch = collate([key_frames.sample(row)])
        if batch.points is None:
            raise KeyFrameError(f"Key frame {batch.tokens[0]} has no LiDAR points.")
        cells.append(occupied_cells(batch.points, grid))
        views = network.see(batch.images, batch.cameras)
        predicted = network.features_at(views, torch.nn.functional.pad(cells[-1], (1, 0)))
        if predicted is None:
            raise RunError(f"{run} distilled no features.", hint="Give one with loss.features above 0.")
        features.append(predicted)
    every = torch.cat(features)
    colors = torch.split(common_colors(every, every)[0], [len(one) for one in features])
    return {
        int(row): Voxels(grid.centers()[tuple(found.unbind(1))], grid.cell_m, shown)
        for row, found, shown in zip(rows, cells, colors, strict=True)
    }
