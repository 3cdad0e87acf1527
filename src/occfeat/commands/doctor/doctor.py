"""`occfeat doctor`: report the installation, and test a device against the CPU."""

import logging
import platform
import shutil
import time
from importlib.metadata import version
from pathlib import Path

import torch

from occfeat.commands.doctor.compare import STUDENTS, compare_resumed, compare_student, compare_targets
from occfeat.commands.doctor.rates import learning_rates, loading_rates
from occfeat.commands.doctor.rows import Row, as_json, as_table
from occfeat.commands.outcome import Outcome
from occfeat.errors import WeightsError
from occfeat.machine.atomic import write_text_atomic
from occfeat.machine.extras import EXTRAS, Extra
from occfeat.machine.processor import usable_cores
from occfeat.models.weights.packaged import STUDENT_FILE, TEACHER_FILE, PackagedFile, locate
from occfeat.settings.commands import DoctorConfig
from occfeat.training.device import choose_device

logger = logging.getLogger(__name__)

PACKAGES = ("torch", "timm", "lightning-fabric", "numpy", "pyarrow", "opencv-python-headless")


def doctor(config: DoctorConfig) -> Outcome:
    """Return versions, devices, memory and extras, one per line, or the self-test; nothing is fetched."""
    if config.device is not None:
        return self_test(choose_device(config.device), config.out)
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


def self_test(device: torch.device, out: Path | None) -> Outcome:
    """Compare a device with the CPU, and measure it; the exit code is 1 if anything is wrong."""
    started = time.monotonic()
    rows: list[Row] = []
    for part in (
        compare_targets(device),
        *(compare_student(name, device) for name in STUDENTS),
        compare_resumed(device),
        loading_rates(),
        learning_rates(device),
    ):
        for row in part:
            logger.info("%s", row)
            rows.append(row)
    about = {
        "occfeat": version("occfeat"),
        **{name: version(name) for name in PACKAGES},
        "device": torch.cuda.get_device_name(device) if device.type == "cuda" else device.type,
        "platform": platform.platform(),
        "cores": str(usable_cores()),
        "seconds": f"{time.monotonic() - started:.0f}",
    }
    text = "\n".join((*(f"{name} {value}" for name, value in about.items()), as_table(rows)))
    if out is not None:
        write_text_atomic(out, as_json(about, rows))
        text += f"\n{out}"
    return Outcome(text, exit_code=0 if all(row.is_right for row in rows) else 1)


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
