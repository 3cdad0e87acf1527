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
        index,
        open_dataset,
        predict,
        pretrain,
        view,
        write_report,
    )
    from occfeat.data.nuscenes.writer.folder import NuScenesWriter
    from occfeat.release.shipped import ShippedModel, load_model

__all__ = [
    "NuScenesWriter",
    "ShippedModel",
    "analyse",
    "build_world",
    "cache",
    "check",
    "convert",
    "demo",
    "doctor",
    "evaluate",
    "export_model",
    "finetune",
    "index",
    "load_model",
    "open_dataset",
    "predict",
    "pretrain",
    "view",
    "write_report",
]


_FROM = {
    "NuScenesWriter": "occfeat.data.nuscenes.writer.folder",
    "ShippedModel": "occfeat.release.shipped",
    "load_model": "occfeat.release.shipped",
}
"""Modules of the names that are not functions of `occfeat.api`."""


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module 'occfeat' has no attribute {name!r}")
    return getattr(import_module(_FROM.get(name, "occfeat.api")), name)


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
