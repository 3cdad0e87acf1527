"""Small fine-tuned networks of every kind, and run folders that hold them."""

from pathlib import Path

import torch

from occfeat.models.students.build import build_student
from occfeat.release.model import BevModel
from occfeat.release.shipped import load_model, write_model
from occfeat.runs.card import ModelCard
from occfeat.segmentation.head import SegmentationHead
from occfeat.segmentation.task import Segmenter
from occfeat.settings.sections import GridConfig, ViewConfig
from occfeat.settings.students import STUDENTS
from tests.models.students.test_students import FEW, OWN
from tests.support.rigs import GRID

IMAGE_SIZE = (44, 80)
"""Height off the stride of 8."""
CLASSES = ("vehicle", "walkway")


def write_run(folder: Path, kind: str, **more: object) -> Path:
    """A run folder with a network of random weights that learned to segment two classes."""
    torch.manual_seed(0)
    settings = STUDENTS[kind].model_validate({**FEW, **OWN[kind], "backbone": "test_efficientnet", **more})
    student = build_student(settings, GRID)
    segmenter = Segmenter(student, SegmentationHead(student.channels, len(CLASSES)))
    for weight in segmenter.parameters():  # what starts at 0 would hide mistakes
        weight.data += 0.02 * torch.randn(weight.shape)
    card = ModelCard(
        stage="segmentation",
        student=settings,
        grid=GridConfig(lower_m=GRID.lower_m, upper_m=GRID.upper_m, cell_m=GRID.cell_m),
        view=ViewConfig(image_size=IMAGE_SIZE),
        classes=CLASSES,
    )
    folder.mkdir(parents=True)
    write_model(folder, segmenter, card)
    return folder


def small_model(folder: Path, kind: str, **more: object) -> BevModel:
    """The network of such a folder."""
    return load_model(write_run(folder / kind, kind, **more))
