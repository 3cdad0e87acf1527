"""How much `occfeat demo` builds and learns, chosen on a town that it does not show (experiments/LOG.md)."""

from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Size:
    """How much is built and learned."""

    world: dict[str, Any]
    """Settings of the world."""
    teacher: dict[str, Any]
    """Settings of the teacher, above the recipe."""
    pretrain: dict[str, Any]
    """Settings of pretraining, above the recipe."""
    finetune: dict[str, Any]
    """Settings of both fine-tunings, above the recipe."""


STUDENT_RATES = {"none": 1.0, "occfeat": 0.1}
"""Learning rate of each arm's student, as a share of that of its head. Without pretraining most of the
student is yet to be learned."""
TURNED = {"bev_flip": True, "bev_rotation_deg": 180}
SMALL = {"image_size": (96, 168)}
FULL = Size(
    world={"scenes": 46, "test_scenes": 6, "key_frames": 4, "image_size": (160, 280)},
    teacher={"teacher": {"image_size": (98, 168)}},
    pretrain={
        "view": SMALL,
        "augment": TURNED,
        "head": {"feature_channels": 64},
        "loss": {"features": 0.3, "center_features": True},
        "optim": {"epochs": 6},
    },
    finetune={
        "view": SMALL,
        "label_fraction": 0.01,
        "optim": {"epochs": 60, "batch_size": 2},
        "augment": TURNED,
    },
)
QUICK = Size(
    world={"scenes": 4, "test_scenes": 1, "key_frames": 2, "image_size": (96, 168), "town_size": 3},
    teacher={"teacher": {"image_size": (56, 98)}},
    pretrain={"optim": {"epochs": 2, "batch_size": 2}},
    finetune={"label_fraction": 0.34, "optim": {"epochs": 3, "batch_size": 2}},
)
