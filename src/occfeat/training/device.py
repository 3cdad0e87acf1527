"""Device, processes and precision of a run."""

import logging
import os
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext

import numpy as np
import torch
from lightning_fabric import Fabric
from lightning_fabric.plugins.environments.cluster_environment import ClusterEnvironment
from lightning_fabric.plugins.environments.lightning import LightningEnvironment
from lightning_fabric.plugins.environments.slurm import SLURMEnvironment
from lightning_fabric.plugins.environments.torchelastic import TorchElasticEnvironment
from lightning_fabric.utilities.exceptions import MisconfigurationException

from occfeat.errors import RunError, SettingsError
from occfeat.machine.allocator import keep_freed_memory
from occfeat.machine.launcher import Launched, find_launched
from occfeat.settings.sections import EngineConfig

logger = logging.getLogger(__name__)


def choose_device(name: str) -> torch.device:
    """Turn `auto` into the best device of this machine.

    Raises:
        SettingsError: This machine does not have the device.
    """
    available = {
        "cuda": torch.cuda.is_available(),
        "mps": torch.backends.mps.is_available(),
        "cpu": True,
    }
    if name == "auto":
        name = next(device for device, there in available.items() if there)
    if not available[name]:
        hint = "Set the device to auto; `occfeat doctor` lists the available ones."
        raise SettingsError(f"This machine has no usable {name} device.", hint=hint)
    return torch.device(name)


def build_fabric(engine: EngineConfig) -> Fabric:
    """Launch the devices and processes of a run.

    The number of processes is that of torchrun or srun if one of them started this one, else that of the
    settings. Fabric's own precision stays float32 on purpose. Its mixed precision would round the
    calibration, which travels with the images, to bfloat16. `autocast` rounds inside the networks only.

    Raises:
        SettingsError: This machine does not have the device, or too few of them.
    """
    accelerator = choose_device(engine.device).type
    keep_freed_memory()
    if engine.deterministic:
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # read when cuBLAS starts
        torch.use_deterministic_algorithms(True, warn_only=True)
    launched = find_launched()
    devices, nodes = (launched.devices, launched.nodes) if launched else (engine.devices, engine.nodes)
    try:
        fabric = Fabric(
            accelerator=accelerator,
            devices=devices,
            num_nodes=nodes,
            precision="32-true",
            plugins=_environment(launched),
        )
        fabric.launch()
    except (ValueError, MisconfigurationException) as error:
        hint = "Start one process for each device of a machine (`engine.devices`)."
        raise SettingsError(f"{devices} device(s) on {nodes} machine(s): {error}", hint=hint) from error
    if not fabric.is_global_zero:
        logging.getLogger("occfeat").setLevel(logging.WARNING)  # log once, not once per process
    if launched and (devices, nodes) != (engine.devices, engine.nodes):
        logger.info("%s started %d process(es) on each of %d machine(s).", launched.by, devices, nodes)
    return fabric


class SrunEnvironment(SLURMEnvironment):
    """The processes of a step that srun started, whatever options the job was submitted with."""

    def world_size(self) -> int:
        """Return the number of processes of the step."""
        return int(os.environ["SLURM_STEP_NUM_TASKS"])

    def validate_settings(self, num_devices: int, num_nodes: int) -> None:
        """Accept the settings, which were made from the step itself."""

    @staticmethod
    def _validate_srun_variables() -> None:
        """Accept `--ntasks` without `--ntasks-per-node`."""


def _environment(launched: Launched | None) -> ClusterEnvironment | None:
    """Return how processes find each other; None leaves the choice to Fabric."""
    if launched:
        return TorchElasticEnvironment() if launched.by == "torchrun" else SrunEnvironment()
    return LightningEnvironment() if "SLURM_NTASKS" in os.environ else None


def draw_apart(fabric: Fabric, seed: int, step: int) -> None:
    """Give each process other random numbers in a step; those of the first go on as they are.

    All begin with one state, that of the seed or of a checkpoint. A resumed run draws the same ones again.
    """
    if fabric.global_rank:
        entropy = np.random.SeedSequence((seed, fabric.global_rank, step))
        torch.manual_seed(int(entropy.generate_state(1)[0]))


@contextmanager
def all_alive(fabric: Fabric) -> Iterator[None]:
    """Turn the network error that follows the death of another process into one that says so.

    Raises:
        RunError: Another process has ended.
    """
    try:
        yield
    except RuntimeError as error:
        of_network = isinstance(error, torch.distributed.DistError) or "gloo" in str(error)
        if fabric.world_size == 1 or not of_network:
            raise
        hint = "See what it printed, then resume the run."
        raise RunError(f"Another process of the run has ended: {error}", hint=hint) from error


def autocast(device: torch.device, precision: str) -> AbstractContextManager[object]:
    """Return the context in which the networks compute: bfloat16 if asked for, or if `auto` finds it fast."""
    if precision == "auto":
        fast = device.type == "cuda" and torch.cuda.is_bf16_supported(including_emulation=False)
        precision = "bf16-mixed" if fast else "32-true"
    if precision == "32-true":
        return nullcontext()
    return torch.autocast(device.type, dtype=torch.bfloat16)
