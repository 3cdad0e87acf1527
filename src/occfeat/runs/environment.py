"""Where and how a run was started, as the first file of its folder says."""

import platform
import subprocess
import sys
from collections.abc import Mapping
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch

from occfeat.machine.processor import usable_cores

Fingerprint = str | dict[str, str]
"""Fingerprint of the data set of a run, or those of several by their names."""


def describe_environment(command: str, fingerprint: Fingerprint) -> dict[str, Any]:
    """Return where and how a run starts now.

    Args:
        command: Name of the command.
        fingerprint: That of the data set, or of several by their names.
    """
    packages = ("occfeat", "torch", "timm", "numpy", "lightning-fabric")
    return {
        "command": command,
        "command_line": sys.argv,
        "started": datetime.now(UTC).isoformat(timespec="seconds"),
        "versions": {"python": platform.python_version(), **{name: version(name) for name in packages}},
        "commit": _commit(),
        "platform": platform.platform(),
        "cores": usable_cores(),
        "gpu": torch.cuda.get_device_name() if torch.cuda.is_available() else None,
        "data_fingerprint": fingerprint,
    }


def fingerprints_of(environment: Mapping[str, Any]) -> dict[str, Any]:
    """Return the fingerprint of each data set of a run, by its name; that of a single one is empty.

    Nothing is known of weights that were converted.
    """
    known = environment.get("data_fingerprint")
    return known if isinstance(known, dict) else {} if known is None else {"": known}


def _commit(folder: Path = Path(__file__).parent) -> str | None:
    """Return the commit of the package's checkout; None if it does not run from one.

    An installed package may lie in somebody else's repository, which does not track it.
    """
    git = ["git", "-C", str(folder)]
    tracked, head = ["ls-files", "--error-unmatch", "--", str(folder)], ["rev-parse", "HEAD"]
    try:
        for command in (tracked, head):
            done = subprocess.run([*git, *command], capture_output=True, text=True, check=True, timeout=10)
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout.strip()
