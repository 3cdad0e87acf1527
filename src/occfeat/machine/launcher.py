"""Which processes of a run torchrun or srun has started. Imports no torch."""

import os
import re
from collections.abc import Mapping, MutableMapping
from dataclasses import dataclass

from occfeat.errors import SettingsError

COUNTS = (
    *("RANK", "LOCAL_RANK", "WORLD_SIZE", "LOCAL_WORLD_SIZE", "GROUP_RANK", "NODE_RANK", "MASTER_PORT"),
    *("SLURM_NTASKS", "SLURM_PROCID", "SLURM_LOCALID", "SLURM_NODEID", "SLURM_STEP_NUM_TASKS"),
)
"""Variables of launchers that hold whole numbers. torch and Lightning fail if one does not."""


@dataclass(frozen=True)
class Launched:
    """The processes of one run, as a launcher started them."""

    by: str
    """`torchrun` or `srun`."""
    devices: int
    """Number of processes on each machine."""
    nodes: int
    """Number of machines."""
    rank: int
    """Number of this process among all, from 0."""


def leave_out_nonsense(environ: MutableMapping[str, str] = os.environ) -> None:
    """Remove variables of launchers that are empty or not whole numbers, before torch reads them.

    Shells and containers leave such ones behind. A launcher that is at work sets all of its own.
    """
    for name in COUNTS:
        if name in environ and not re.fullmatch("[0-9]{1,9}", environ[name].strip()):
            del environ[name]


def find_launched(environ: Mapping[str, str] = os.environ) -> Launched | None:
    """Return the processes that a launcher started; None if there is only this one.

    A batch script of SLURM sees the number of tasks of its job, but is a single process. Only `srun` sets the
    variables of a step.

    Raises:
        SettingsError: The launcher started another number of processes on each, or does not say how many.
    """
    try:
        return _find(environ)
    except KeyError as error:
        what = f"Expected a number of processes or of this one in the variable {error.args[0]}, got none."
        hint = "Start with torchrun or srun, or remove the variables that one of them has left behind."
        raise SettingsError(what, hint=hint) from error


def _find(environ: Mapping[str, str]) -> Launched | None:
    """Return the processes that a launcher started; a `KeyError` names a variable that is missing."""
    if "TORCHELASTIC_RUN_ID" in environ:
        total = int(environ["WORLD_SIZE"])
        devices = int(environ.get("LOCAL_WORLD_SIZE", total))
        if total % devices:
            hint = "Give torchrun the same `--nproc-per-node` on each."
            what = (
                f"torchrun: expected equally many processes on each machine, got {devices} of {total} here."
            )
            raise SettingsError(what, hint=hint)
        return Launched("torchrun", devices, total // devices, int(environ["RANK"]))
    if int(environ.get("SLURM_STEP_NUM_TASKS", "1")) > 1:
        devices, nodes = _per_machine(environ["SLURM_STEP_TASKS_PER_NODE"])
        return Launched("srun", devices, nodes, int(environ["SLURM_PROCID"]))
    return None


def _per_machine(text: str) -> tuple[int, int]:
    """Return processes per machine and machines of SLURM's `8(x2)`; they must be equal, as in `8,8`."""
    counts = re.findall(r"(\d+)(?:\(x(\d+)\))?", text)
    devices = {int(count) for count, _ in counts}
    if len(devices) != 1:
        hint = "Ask for `--ntasks-per-node` in place of `--ntasks`."
        raise SettingsError(
            f"srun: expected equally many processes on each machine, got {text or 'none'}.", hint=hint
        )
    return devices.pop(), sum(int(times or 1) for _, times in counts)
