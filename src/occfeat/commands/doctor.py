"""`occfeat doctor`: report the installation."""

import platform
import shutil
from importlib.metadata import version
from pathlib import Path

import torch

from occfeat.commands.outcome import Outcome
from occfeat.errors import WeightsError
from occfeat.models.weights.packaged import STUDENT_FILE, TEACHER_FILE, PackagedFile, locate
from occfeat.settings.commands import DoctorConfig
from occfeat.settings.extras import EXTRAS, Extra
from occfeat.settings.processor import usable_cores
from occfeat.training.device import choose_device

PACKAGES = ("torch", "timm", "lightning-fabric", "numpy", "pyarrow", "opencv-python-headless")


def doctor(_: DoctorConfig) -> Outcome:
    """Return versions, devices, memory and extras, one per line; nothing is fetched."""
    lines = [
        f"occfeat {version('occfeat')}, Python {platform.python_version()}, {platform.platform()}",
        *(f"{name} {version(name)}" for name in PACKAGES),
        f"cores: {usable_cores()}, torch threads: {torch.get_num_threads()}",
        f"device chosen by auto: {choose_device('auto')}",
        *_gpus(),
        f"free disk here: {shutil.disk_usage(Path.cwd()).free / 1e9:.0f} GB",
        *(_extra(name, extra) for name, extra in EXTRAS.items()),
        _packaged("student", STUDENT_FILE),
        _packaged("teacher", TEACHER_FILE),
    ]
    return Outcome("\n".join(lines))


def _gpus() -> list[str]:
    """Return a line for each GPU."""
    return [
        f"GPU {number}: {torch.cuda.get_device_name(number)}, "
        f"{torch.cuda.get_device_properties(number).total_memory / 1e9:.0f} GB"
        for number in range(torch.cuda.device_count())
    ]


def _extra(name: str, extra: Extra) -> str:
    """Return a line that says whether an extra is installed."""
    if missing := extra.missing():
        lacking = "" if len(missing) == len(extra.packages) else f" ({', '.join(missing)} missing)"
        return f"extra {name}: not installed{lacking}, for {extra.purpose}; pip install 'occfeat[{name}]'"
    installed = ", ".join(f"{package} {version(package)}" for package in extra.packages)
    return f"extra {name}: installed, for {extra.purpose} ({installed})"


def _packaged(name: str, file: PackagedFile) -> str:
    """Return a line that says where packaged weights are."""
    try:
        return f"packaged {name} weights: {locate(file)}"
    except WeightsError as error:
        return f"packaged {name} weights: {error.message}"
