"""Optional packages and the extras that install them. Imports no torch.

Training needs only the base installation. Packages that only a demo, a report, an analysis, an export or a
logger needs come with an extra. Commands call `require_extra` before they start any work.
"""

from dataclasses import dataclass
from importlib.util import find_spec

from occfeat.errors import MissingExtraError


@dataclass(frozen=True)
class Extra:
    """Optional packages that serve one purpose."""

    purpose: str
    """Their purpose, for messages."""
    packages: dict[str, str]
    """Name of the module of each package, by the name of the package."""
    hint: str = ""
    """An alternative if it cannot be installed, as a sentence."""

    def missing(self) -> list[str]:
        """Return the names of the packages that are not installed."""
        return [package for package, module in self.packages.items() if find_spec(module) is None]


NO_EMBREEX = (
    "embreex has wheels for macOS 13 or newer, and for Linux and Windows on x86-64; elsewhere, copy the "
    "folder of a world built there."
)
EXTRAS = {
    "demo": Extra(
        "the demo, and the packaged teacher of the recipe cpu-small",
        {"embreex": "embreex", "jinja2": "jinja2", "markupsafe": "markupsafe", "onnx": "onnx"},
        NO_EMBREEX,
    ),
    "world": Extra("the street world", {"embreex": "embreex"}, NO_EMBREEX),
    "report": Extra("pages about runs", {"jinja2": "jinja2", "markupsafe": "markupsafe", "plotly": "plotly"}),
    "analysis": Extra("the analysis of features", {"scikit-learn": "sklearn"}),
    "export": Extra(
        "export to ONNX", {"onnx": "onnx", "onnxruntime": "onnxruntime", "onnxscript": "onnxscript"}
    ),
    "viz": Extra("recordings of scenes", {"rerun-sdk": "rerun"}),
    "ros": Extra("reading of ROS bags", {"rosbags": "rosbags"}),
    "slam": Extra("poses from the LiDAR alone", {"kiss-icp": "kiss_icp"}),
    "tensorboard": Extra("curves in TensorBoard", {"tensorboard": "tensorboard"}),
    "wandb": Extra("curves in Weights & Biases", {"wandb": "wandb"}),
    "mlflow": Extra("curves in MLflow", {"mlflow": "mlflow"}),
}
"""The extras that commands and loggers need, by name."""


def require_extra(name: str, *, what: str, hint: str = "") -> None:
    """Refuse to continue without the packages of an extra.

    Args:
        name: The extra.
        what: What needs it, as the beginning of a sentence.
        hint: An alternative to installing it, as a sentence.

    Raises:
        MissingExtraError: A package is not installed.
    """
    extra = EXTRAS[name]
    if missing := extra.missing():
        are = "is" if len(missing) == 1 else "are"
        raise MissingExtraError(
            f"{what} needs {', '.join(missing)}, which {are} not installed.",
            hint=" ".join(filter(None, (f"pip install 'occfeat[{name}]'.", extra.hint, hint))),
        )
