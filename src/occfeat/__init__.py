"""Pretrain camera-only bird's-eye-view networks from unlabelled drives.

The public API is imported on first use, so that `import occfeat` is quick.
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from occfeat.api import (
        ShippedModel,
        analyse,
        cache,
        check,
        convert,
        demo,
        doctor,
        evaluate,
        export_model,
        finetune,
        index,
        load_model,
        open_dataset,
        predict,
        pretrain,
        view,
        write_report,
    )
    from occfeat.api_world import build_world
    from occfeat.data.nuscenes.writer.folder import NuScenesWriter

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


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module 'occfeat' has no attribute {name!r}")
    if name == "build_world":
        from occfeat.api_world import build_world

        return build_world
    if name == "NuScenesWriter":
        from occfeat.data.nuscenes.writer.folder import NuScenesWriter

        return NuScenesWriter
    from occfeat import api

    return getattr(api, name)


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
