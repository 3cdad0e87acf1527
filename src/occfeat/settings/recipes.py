"""Named settings of whole runs: the paper's, and one for a laptop's CPU.

A recipe is the lowest layer of settings. A settings file (`--config`) overrides it; flags override both.
This module imports no torch.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

from occfeat.errors import SettingsError, did_you_mean
from occfeat.settings.commands import FinetuneConfig, PretrainConfig
from occfeat.settings.sections import (
    AugmentConfig,
    GridConfig,
    HeadConfig,
    OptimConfig,
    PretrainLossConfig,
    TeacherConfig,
    ViewConfig,
)
from occfeat.settings.strict import Strict
from occfeat.settings.students import BevFormerConfig, LssConfig, SimpleBevConfig, StudentConfig


@dataclass(frozen=True)
class Recipe:
    """Matching settings for pretraining and for fine-tuning."""

    view: ViewConfig
    grid: GridConfig
    augment: AugmentConfig
    student: StudentConfig
    teacher: TeacherConfig
    head: HeadConfig
    loss: PretrainLossConfig
    pretrain_optim: OptimConfig
    finetune_optim: OptimConfig

    def sections(self, kind: type[Strict]) -> dict[str, Any]:
        """Return the sections of a command's settings, and the single settings, that this recipe sets."""
        optim = {PretrainConfig: self.pretrain_optim, FinetuneConfig: self.finetune_optim}
        every: dict[str, Any] = {
            "view": self.view,
            "grid": self.grid,
            "augment": self.augment,
            "student": self.student,
            "teacher": self.teacher,
            "head": self.head,
            "loss": self.loss,
            "image_size": self.view.image_size,
            "largest_zoom": max(1.0, self.augment.scale[1]),
            **({"optim": optim[kind]} if kind in optim else {}),
        }
        return {name: section for name, section in every.items() if name in kind.model_fields}


def paper_simplebev_b0() -> Recipe:
    """Return the paper's recipe: SimpleBEV, EfficientNet-B0, 224 x 400 images, DINOv2 ViT-S/14, 50 epochs.

    Optimiser and augmentation are Simple-BEV's, as the paper does not give its own.
    """
    return Recipe(
        view=ViewConfig(),
        grid=GridConfig(),
        augment=AugmentConfig(scale=(0.8, 1.2), shift=0.1),
        student=SimpleBevConfig(),
        teacher=TeacherConfig(),
        head=HeadConfig(),
        loss=PretrainLossConfig(),
        pretrain_optim=OptimConfig(),
        finetune_optim=OptimConfig(),
    )


def paper_simplebev_r50() -> Recipe:
    """Return paper-simplebev-b0 with a ResNet-50."""
    return replace(paper_simplebev_b0(), student=SimpleBevConfig(backbone="resnet50"))


def paper_bevformer_b0() -> Recipe:
    """Return paper-simplebev-b0 with BEVFormer as student: 6 layers, 4 heights, one frame."""
    return replace(paper_simplebev_b0(), student=BevFormerConfig())


def paper_bevformer_r50() -> Recipe:
    """Return paper-bevformer-b0 with a ResNet-50."""
    return replace(paper_simplebev_b0(), student=BevFormerConfig(backbone="resnet50"))


def lss_b0() -> Recipe:
    """Return paper-simplebev-b0 with LSS, which the paper does not use. Depth is not supervised."""
    return replace(paper_simplebev_b0(), student=LssConfig())


def cpu_small() -> Recipe:
    """Return a recipe for two cores: EfficientNet-lite0, 128 x 224 images, 64 x 64 x 8 voxels of 0.8 m.

    Student and teacher use the packaged weights, and nothing is downloaded from a model hub. Sizes and rates
    are this project's choice. The metrics are not comparable with the paper's.
    """
    return Recipe(
        view=ViewConfig(image_size=(128, 224)),
        grid=GridConfig(lower_m=(-25.6, -25.6, -1), upper_m=(25.6, 25.6, 3), cell_m=(0.8, 0.8, 0.5)),
        augment=AugmentConfig(),
        student=SimpleBevConfig(
            backbone="tf_efficientnet_lite0",
            backbone_weights="packaged",
            freeze_stem=True,
            image_channels=32,
            bev_channels=48,
        ),
        teacher=TeacherConfig(name="packaged", image_size=(168, 294)),
        head=HeadConfig(channels=16),
        loss=PretrainLossConfig(),
        pretrain_optim=OptimConfig(epochs=10, batch_size=4, learning_rate=4e-3),
        finetune_optim=OptimConfig(epochs=30, batch_size=4, learning_rate=3e-3),
    )


RECIPES: dict[str, Callable[[], Recipe]] = {
    "paper-simplebev-b0": paper_simplebev_b0,
    "paper-simplebev-r50": paper_simplebev_r50,
    "paper-bevformer-b0": paper_bevformer_b0,
    "paper-bevformer-r50": paper_bevformer_r50,
    "lss-b0": lss_b0,
    "cpu-small": cpu_small,
}
"""Recipes by name."""

OBJECTIVES = {
    "occupancy": PretrainLossConfig(features=0),
    "distillation": PretrainLossConfig(occupancy=0, features=1),
    "img-also": PretrainLossConfig(occupancy=0, features=0, queries=1),
    "time": PretrainLossConfig(window_s=0.5, features_window_s=0.6, path=0.1),
}
"""Losses that the paper compares OccFeat with, and `time`. RECIPE+NAME is a recipe, too.

`time` learns from the time around a key frame: occupancy from all sweeps within half a second, features from
the key frames next to it, and the path of the car. It needs poses and a teacher cache. It is thought to be
the best choice, which is not measured yet.
"""


def find_recipe(name: str) -> Recipe:
    """Return the recipe of a name such as `paper-simplebev-b0`, or `paper-simplebev-b0+occupancy`.

    Raises:
        SettingsError: There is none.
    """
    base, plus, objective = name.partition("+")
    if base not in RECIPES or (plus and objective not in OBJECTIVES):
        every = [*RECIPES, *(f"{one}+{other}" for one in RECIPES for other in OBJECTIVES)]
        hint = f"{did_you_mean(name, every)}Recipes: {names_of_recipes()}."
        raise SettingsError(f"There is no recipe {name!r}.", hint=hint)
    recipe = RECIPES[base]()
    return replace(recipe, loss=OBJECTIVES[objective]) if plus else recipe


def names_of_recipes() -> str:
    """Return the names of all recipes, for messages."""
    return f"{', '.join(RECIPES)}; each alone or with {', '.join(f'+{name}' for name in OBJECTIVES)}"
