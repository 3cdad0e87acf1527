"""Pretrain camera-only bird's-eye-view networks from unlabelled drives.

The public API is imported on first use, so that `import occfeat` is quick.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from occfeat.api import (
        analyse,
        build_world,
        cache,
        check,
        convert,
        demo,
        doctor,
        evaluate,
        export_model,
        finetune,
        import_recordings,
        index,
        open_dataset,
        predict,
        pretrain,
        view,
        write_report,
    )
    from occfeat.data.dataset import KeyFrames
    from occfeat.data.formats.nuscenes.writer.folder import NuScenesWriter
    from occfeat.data.sample.contents import Contents, ImagesForTeacher
    from occfeat.data.sample.sample import collate
    from occfeat.geometry.grid import build_grid
    from occfeat.models.students.build import build_student
    from occfeat.pretraining.objectives.contract import Objective, Term
    from occfeat.pretraining.objectives.evidence import occupancy_target
    from occfeat.release.shipped import ShippedModel, load_model
    from occfeat.settings.recipes import find_recipe

__all__ = [
    "Contents",
    "ImagesForTeacher",
    "KeyFrames",
    "NuScenesWriter",
    "Objective",
    "ShippedModel",
    "Term",
    "analyse",
    "build_grid",
    "build_student",
    "build_world",
    "cache",
    "check",
    "collate",
    "convert",
    "demo",
    "doctor",
    "evaluate",
    "export_model",
    "find_recipe",
    "finetune",
    "import_recordings",
    "index",
    "load_model",
    "occupancy_target",
    "open_dataset",
    "predict",
    "pretrain",
    "view",
    "write_report",
]

_ELSEWHERE = {
    "Contents": "occfeat.data.sample.contents",
    "ImagesForTeacher": "occfeat.data.sample.contents",
    "KeyFrames": "occfeat.data.dataset",
    "NuScenesWriter": "occfeat.data.formats.nuscenes.writer.folder",
    "Objective": "occfeat.pretraining.objectives.contract",
    "ShippedModel": "occfeat.release.shipped",
    "Term": "occfeat.pretraining.objectives.contract",
    "build_grid": "occfeat.geometry.grid",
    "build_student": "occfeat.models.students.build",
    "collate": "occfeat.data.sample.sample",
    "find_recipe": "occfeat.settings.recipes",
    "load_model": "occfeat.release.shipped",
    "occupancy_target": "occfeat.pretraining.objectives.evidence",
}
"""Modules of the names that are not functions of `occfeat.api`."""


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module 'occfeat' has no attribute {name!r}")
    return getattr(import_module(_ELSEWHERE.get(name, "occfeat.api")), name)


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
