"""What commands do for each of their data sets: checks, pictures, and what an epoch draws of it."""

import logging
from collections.abc import Mapping
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from occfeat.data.check.categories import listed, unknown_categories
from occfeat.data.check.check import quick_check, require_plausible, warn_of_set
from occfeat.data.dataset import KeyFrames
from occfeat.data.index.index import Index
from occfeat.data.index.sets import DataSets
from occfeat.data.labels import require_classes
from occfeat.data.maps.masks import LAYERS
from occfeat.data.source.faults import LEFT_OUT
from occfeat.data.source.splits import ALL
from occfeat.errors import DatasetError, SettingsError, did_you_mean
from occfeat.report.pictures.predictions import draw_predictions
from occfeat.segmentation.task import Segmenter
from occfeat.settings.sections import EngineConfig, ViewConfig
from occfeat.training.loading.order import Mix
from occfeat.training.loading.several import SeveralKeyFrames

logger = logging.getLogger(__name__)

MAX_LEFT_OUT = 0.05
"""Largest share of boxes that may be unusable (this project's choice)."""


def require_files(
    sets: DataSets, rows: NDArray[np.int64], *, view: ViewConfig, needs_lidar: bool, engine: EngineConfig
) -> None:
    """Refuse key frames of a data set of which more files are missing than the settings allow.

    Raises:
        DatasetError: More are.
    """
    for one, of_set in sets.parts(rows):
        with one.named_in_errors():
            quick_check(one.index, of_set, view=view, needs_lidar=needs_lidar, engine=engine)


def require_plausible_sets(
    sets: DataSets, rows: NDArray[np.int64], *, view: ViewConfig, needs_lidar: bool, only_warn: bool
) -> None:
    """Refuse, or only name, calibration, poses and boxes that cannot be.

    Raises:
        DatasetError: A data set has some.
    """
    for one, of_set in sets.parts(rows):
        try:
            with one.named_in_errors():
                require_plausible(one.index, of_set, view=view, needs_lidar=needs_lidar)
        except DatasetError as error:
            if not only_warn:
                raise
            logger.warning("%s", "\n  ".join((error.message, *error.first)))


def warn_of_sets(sets: DataSets) -> None:
    """Log the problems of each whole data set that do not stop a run, such as repeated records."""
    for one in sets.each:
        warn_of_set(one.index)


def warn_of_shared(sets: DataSets, rows: NDArray[np.int64], val_rows: NDArray[np.int64]) -> None:
    """Warn if scenes are both trained on and evaluated on."""
    for one in sets.each:
        both = [part for every in (rows, val_rows) for other, part in sets.parts(every) if other is one]
        names = [set(one.index.scene_of(part).tolist()) for part in both]
        if len(names) == 2 and (shared := sorted(names[0] & names[1])):
            what = "%d scenes of %s are both trained on and evaluated on, such as %s: metrics are too good."
            logger.warning(what, len(shared), one.index.root, shared[0])


def require_labels(sets: DataSets, rows: NDArray[np.int64], classes: tuple[str, ...]) -> None:
    """Refuse a data set without labels of some classes.

    Raises:
        DatasetError: A map is damaged, or no box is of a class while categories are not known.
        SettingsError: A data set does not have a class, or no map with its layer.
    """
    for one, of_set in sets.parts(rows):
        with one.named_in_errors():
            require_classes(one.index, one.index.places(of_set), classes)
            _require_known_categories(one.index, classes)


def require_motion(sets: DataSets, rows: NDArray[np.int64]) -> None:
    """Refuse a data set in which nobody knows how fast objects move.

    Raises:
        SettingsError: There is one.
    """
    for one, of_set in sets.parts(rows):
        with one.named_in_errors():
            if not one.index.knows_motion(of_set):
                what = f"Nothing in {one.index.root} says which boxes of two key frames are of one object"
                hint = "Leave out `--motion`."
                raise SettingsError(f"{what}, or key frames are too far apart to tell a speed.", hint=hint)


def _require_known_categories(index: Index, classes: tuple[str, ...]) -> None:
    """Refuse a data set without a box of a class, if the class may be among unknown categories.

    If there are such boxes, the unknown categories are only named.
    """
    counts = index.count_categories(index.rows(ALL))
    unknown = unknown_categories(index.taxonomy, counts)
    found = {index.taxonomy.class_of(name) for name in counts}
    if unknown and (missing := [name for name in objects_of(classes) if name not in found]):
        raise DatasetError(
            f"No box of {index.root} is a {' or a '.join(missing)}, and these categories are not known:",
            first=listed(unknown).split(", "),
            hint=f"Map them to classes, such as `--labels.categories {next(iter(unknown))} {missing[0]}`.",
        )
    if unknown:
        what = "Boxes of categories that are not known, in %s, are labels of no class: %s."
        logger.warning(what, index.root, listed(unknown))


def require_categories(sets: DataSets, categories: Mapping[str, str]) -> None:
    """Refuse to map categories that no data set has.

    Raises:
        SettingsError: One does not exist.
    """
    known = {name for one in sets.each for name in one.index.metadata.categories}
    for name in categories:
        if name not in known:
            hint = f"{did_you_mean(name, known)}Categories: {', '.join(sorted(known)) or 'none'}."
            raise SettingsError(f"The data have no category {name!r}.", hint=hint)


def require_boxes(sets: DataSets, rows: NDArray[np.int64], classes: tuple[str, ...]) -> None:
    """Refuse data without a single box of a class, which would teach that the class never occurs.

    Raises:
        DatasetError: A data set has no boxes in these key frames although objects are to be learned, or no
            data set has boxes of a class.
    """
    objects, found = objects_of(classes), set()
    for one, of_set in sets.parts(rows):
        _require_few_left_out(one.index, objects)
        counts = one.index.count_categories(of_set)
        found |= {one.index.taxonomy.class_of(name) for name in counts}
        if objects and not counts:
            raise DatasetError(
                f"The {len(of_set)} labelled key frames of {one.index.root} have no boxes to learn "
                f"{', '.join(objects)} from.",
                hint="Pretrain on this data set, and fine-tune on others or on another split.",
            )
    if missing := [name for name in objects if name not in found]:
        hint = "Leave the class out of `classes`, or give another split."
        raise DatasetError(f"The {len(rows)} labelled key frames have no box of {missing[0]}.", hint=hint)


def _require_few_left_out(index: Index, objects: list[str]) -> None:
    """Refuse a data set that lost too many boxes, which would teach that their objects never occur."""
    faults = [fault for fault in index.metadata.loose_faults if fault[0] == LEFT_OUT]
    lost = sum(count for _, count, _ in faults)
    total = lost + sum(index.count_categories(index.rows(ALL)).values())
    if objects and lost > MAX_LEFT_OUT * total:
        raise DatasetError(
            f"{lost} of the {total} boxes of {index.root} cannot be used, more than {MAX_LEFT_OUT:.0%}.",
            first=[example for _, _, examples in faults for example in examples[:3]],
            hint="Correct their records; `occfeat check` lists them.",
        )


def objects_of(classes: tuple[str, ...]) -> list[str]:
    """Return the classes of objects among some classes."""
    return [name for name in classes if name not in LAYERS]


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
