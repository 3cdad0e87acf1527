"""What commands do for each of their data sets: checks, pictures, and what an epoch draws of it."""

import logging
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from occfeat.data.check.check import quick_check
from occfeat.data.dataset import KeyFrames
from occfeat.data.index.sets import DataSets
from occfeat.data.labels import require_classes
from occfeat.data.maps.masks import LAYERS
from occfeat.errors import DatasetError
from occfeat.report.pictures.predictions import draw_predictions
from occfeat.segmentation.task import Segmenter
from occfeat.settings.sections import ViewConfig
from occfeat.training.order import Mix
from occfeat.training.several import SeveralKeyFrames

logger = logging.getLogger(__name__)


def require_files(
    sets: DataSets, rows: NDArray[np.int64], *, view: ViewConfig, needs_lidar: bool, allowed: int
) -> None:
    """Refuse key frames of a data set of which more files are missing than the settings allow.

    Raises:
        DatasetError: More are.
    """
    for one, of_set in sets.parts(rows):
        with one.named_in_errors():
            quick_check(one.index, of_set, view=view, needs_lidar=needs_lidar, allowed=allowed)


def require_labels(sets: DataSets, rows: NDArray[np.int64], classes: tuple[str, ...]) -> None:
    """Refuse a data set without labels of some classes.

    Raises:
        DatasetError: A map is damaged.
        SettingsError: A data set does not have a class, or no map with its layer.
    """
    for one, of_set in sets.parts(rows):
        with one.named_in_errors():
            require_classes(one.index.source, one.index.places(of_set), classes)


def require_boxes(sets: DataSets, rows: NDArray[np.int64], classes: tuple[str, ...]) -> None:
    """Refuse a data set without a single box, from which objects would be learned to be absent.

    Raises:
        DatasetError: A data set has none in these key frames, and classes of objects are to be learned.
    """
    objects = [name for name in classes if name not in LAYERS]
    for one, of_set in sets.parts(rows):
        if objects and one.index.count_boxes(of_set) == 0:
            raise DatasetError(
                f"The {len(of_set)} labelled key frames of {one.index.root} have no boxes to learn "
                f"{', '.join(objects)} from.",
                hint="Pretrain on this data set, and fine-tune on others or on another split.",
            )


def mix_of(sets: DataSets, rows: NDArray[np.int64], exponent: float) -> Mix:
    """Return the key frames of training by data set; log what an epoch draws of each of several."""
    parts = sets.parts(rows)
    mix = Mix(tuple(one.first + of_set for one, of_set in parts), exponent)
    if sets.names:
        logger.info("An epoch draws %d key frames:", len(mix))
        for (one, of_set), draws in zip(parts, mix.draws, strict=True):
            logger.info("  %s: %d, of %d in the split", one.name, draws, len(of_set))
    return mix


def draw_predictions_of_sets(
    folder: Path,
    segmenter: Segmenter,
    sets: DataSets,
    key_frames: KeyFrames | SeveralKeyFrames,
    rows: NDArray[np.int64],
) -> None:
    """Draw predictions of some key frames, those of each of several data sets in a folder of its own."""
    if isinstance(key_frames, KeyFrames):
        draw_predictions(folder, segmenter, key_frames, rows)
        return
    each = dict(zip(sets.names, key_frames.each, strict=True))
    for one, of_set in sets.parts(rows):
        draw_predictions(folder / one.name, segmenter, each[one.name], of_set)
