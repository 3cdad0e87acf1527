"""Which processes of a run torchrun or srun has started. Imports no torch."""

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass

from occfeat.errors import SettingsError


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


def find_launched(environ: Mapping[str, str] = os.environ) -> Launched | None:
    """Return the processes that a launcher started; None if there is only this one.

    A batch script of SLURM sees the number of tasks of its job, but is a single process. Only `srun` sets the
    variables of a step.

    Raises:
        SettingsError: The launcher started another number of processes on each machine.
    """
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
