"""Where and how a run was started, as the first file of its folder says."""

import os
import platform
import subprocess
import sys
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch


def describe_environment(command: str, fingerprint: str) -> dict[str, Any]:
    """Return where and how a run starts now.

    Args:
        command: Name of the command.
        fingerprint: Fingerprint of the data set.
    """
    packages = ("occfeat", "torch", "timm", "numpy", "lightning-fabric")
    return {
        "command": command,
        "command_line": sys.argv,
        "started": datetime.now(UTC).isoformat(timespec="seconds"),
        "versions": {"python": platform.python_version(), **{name: version(name) for name in packages}},
        "commit": _commit(),
        "platform": platform.platform(),
        "cores": os.cpu_count(),
        "gpu": torch.cuda.get_device_name() if torch.cuda.is_available() else None,
        "data_fingerprint": fingerprint,
    }


def _commit() -> str | None:
    """Return the commit of the package's checkout, or None if it does not run from one."""
    here = Path(__file__).parent
    command = ["git", "-C", str(here), "rev-parse", "HEAD"]
    try:
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return None
