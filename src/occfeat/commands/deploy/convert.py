"""`occfeat convert`: make a run folder of weights that Simple-BEV's authors published."""

from occfeat.commands.outcome import RunOutcome
from occfeat.geometry.grid import build_grid
from occfeat.models.students.build import build_student
from occfeat.models.weights.loading import read_weights_file
from occfeat.release.published_weights import load_published, published_backbone
from occfeat.release.shipped import write_model
from occfeat.runs.card import ModelCard
from occfeat.runs.output import require_empty
from occfeat.segmentation.head import SegmentationHead
from occfeat.segmentation.task import Segmenter
from occfeat.settings.commands import ConvertConfig
from occfeat.settings.students import PublishedSimpleBevConfig

CLASSES = ("vehicle",)
"""What the published network segments."""


def convert(config: ConvertConfig) -> RunOutcome:
    """Read a published checkpoint without running code from it, and write weights and model card.

    Raises:
        OccFeatError: The checkpoint or the output folder cannot be used.
    """
    require_empty(config.out, hint="Choose another --out.")
    tensors = read_weights_file(config.checkpoint)
    backbone = published_backbone(tensors) or "resnet101"  # what does not fit is then named
    student = PublishedSimpleBevConfig(sampling=config.sampling, backbone=backbone)
    built = build_student(student, build_grid(config.grid), load_backbone=False)
    segmenter = Segmenter(built, SegmentationHead(built.channels, len(CLASSES)))
    loaded, left_out = load_published(segmenter, tensors, config.checkpoint)
    card = ModelCard(
        stage="segmentation", student=student, grid=config.grid, view=config.view, classes=CLASSES
    )
    write_model(config.out, segmenter, card)
    text = f"{backbone}: loaded {loaded} tensors, left out {left_out} of losses and other heads\n{config.out}"
    return RunOutcome(text, path=config.out)
