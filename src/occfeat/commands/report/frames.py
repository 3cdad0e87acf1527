"""The key frames of a report: which are shown, and what every run makes of them."""

from collections.abc import Mapping, Sequence

import numpy as np
from rich.console import Console
from rich.progress import track

from occfeat.commands.report.looks import Look, SegmentationLooks, mean_of_known
from occfeat.data.index.index import Index
from occfeat.data.sample import Sample
from occfeat.report.page.page import Frame, Picture
from occfeat.report.pictures.embedded import image_uri
from occfeat.report.pictures.rig import natural_rows

MEAN = "mean of fine-tuned runs"
"""Name of the score that comes first if there are several of them."""


def worst_rows(rows: Sequence[int], count: int, networks: Sequence[SegmentationLooks]) -> list[int]:
    """The key frames with the lowest mean IoU, by time."""
    scores = {}
    for row in track(rows, "looking for the worst", console=Console(stderr=True)):
        score = mean_of_known(network.score(row) for network in networks)
        scores[row] = 2.0 if score is None else score  # nothing there: the last to be shown
    return sorted(sorted(rows, key=lambda row: scores[row])[:count])


def frames_of(index: Index, rows: Sequence[int], looks: Mapping[str, Sequence[Look]]) -> list[Frame]:
    """One frame per key frame, with what every run makes of it.

    Args:
        index: The set.
        rows: Key frames.
        looks: By run, one look per key frame.
    """
    return [
        _frame(index, row, {name: one[position] for name, one in looks.items()})
        for position, row in enumerate(rows)
    ]


def _frame(index: Index, row: int, looks: Mapping[str, Look]) -> Frame:
    shown = next(iter(looks.values()))
    truth = {picture.caption: picture for look in looks.values() for picture in look.truth}
    scores = {name: look.score for name, look in looks.items()}
    of_classes = [look.score for look in looks.values() if look.what == "classes"]
    if len(of_classes) > 1:
        scores = {MEAN: mean_of_known(of_classes), **scores}
    scene = index.scene_of(np.array([row]))[0]
    return Frame(
        title=f"{scene}, key frame {index.token(row)}",
        images=_images(shown.sample, shown.channels),
        panels=[*truth.values(), *(picture for look in looks.values() for picture in look.panels)],
        scores={name: score for name, score in scores.items() if score is not None},
    )


def _images(sample: Sample, channels: Sequence[str]) -> list[list[Picture]]:
    """Images as one stands in the car."""
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
