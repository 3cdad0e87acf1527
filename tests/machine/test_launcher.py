"""The number of processes is the launcher's."""

import logging
import os

import pytest
from lightning_fabric import Fabric
from lightning_fabric.plugins.environments.lightning import LightningEnvironment
from lightning_fabric.plugins.environments.torchelastic import TorchElasticEnvironment

from occfeat.errors import SettingsError
from occfeat.machine.launcher import Launched, find_launched, leave_out_nonsense
from occfeat.settings.sections import EngineConfig
from occfeat.training import device
from occfeat.training.device import SrunEnvironment, build_fabric

TORCHRUN = {"TORCHELASTIC_RUN_ID": "x", "WORLD_SIZE": "6", "LOCAL_WORLD_SIZE": "2", "RANK": "3"}
BATCH_SCRIPT = {"SLURM_JOB_ID": "7", "SLURM_NTASKS": "4", "SLURM_PROCID": "0", "SLURM_LOCALID": "0"}
STEP = {"SLURM_STEP_NUM_TASKS": "4", "SLURM_STEP_TASKS_PER_NODE": "2(x2)", "SLURM_PROCID": "1"}


def test_alone__is_not_launched() -> None:
    assert find_launched({}) is None


def test_torchrun__says_how_many_processes_there_are() -> None:
    assert find_launched(TORCHRUN) == Launched("torchrun", devices=2, nodes=3, rank=3)


def test_torchrun__inside_a_step_of_slurm_rules() -> None:
    launched = find_launched(BATCH_SCRIPT | STEP | TORCHRUN)
    assert launched is not None
    assert launched.by == "torchrun"


def test_batch_script__is_one_process_however_many_tasks_its_job_has() -> None:
    assert find_launched(BATCH_SCRIPT) is None
    assert find_launched(BATCH_SCRIPT | {"SLURM_STEP_NUM_TASKS": "1"}) is None  # srun --pty bash


@pytest.mark.parametrize(
    ("text", "devices", "nodes"), [("2(x2)", 2, 2), ("4", 4, 1), ("8,8", 8, 2), ("8(x2),8", 8, 3)]
)
def test_srun__says_how_many_processes_there_are(text: str, devices: int, nodes: int) -> None:
    launched = find_launched(BATCH_SCRIPT | STEP | {"SLURM_STEP_TASKS_PER_NODE": text})
    assert launched == Launched("srun", devices, nodes, rank=1)


@pytest.mark.parametrize("text", ["3,1", ""])
def test_srun__with_unequal_machines_is_refused(text: str) -> None:
    with pytest.raises(SettingsError, match="equally many") as caught:
        find_launched(STEP | {"SLURM_STEP_TASKS_PER_NODE": text})
    assert "--ntasks-per-node" in caught.value.hint


@pytest.mark.parametrize("text", ["", " ", "two", "-1", "1.5", "9" * 30])
def test_nonsense_of_launchers__is_left_out(text: str) -> None:
    environ = {"LOCAL_RANK": text, "SLURM_NTASKS": text, "WORLD_SIZE": "2", "SLURM_JOB_NAME": text}
    leave_out_nonsense(environ)
    assert environ == {"WORLD_SIZE": "2", "SLURM_JOB_NAME": text}


@pytest.mark.parametrize("missing", ["WORLD_SIZE", "RANK"])
def test_launcher__that_does_not_say_its_numbers_is_named(missing: str) -> None:
    with pytest.raises(SettingsError, match=f"in the variable {missing}, got none"):
        find_launched({name: value for name, value in TORCHRUN.items() if name != missing})


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> dict[str, object]:
    """What Fabric is asked for, without starting it."""
    given: dict[str, object] = {}

    class Asked(Fabric):
        """Takes the arguments."""

        @property
        def is_global_zero(self) -> bool:
            """This is the first process."""
            return True

        def __init__(self, **arguments: object) -> None:
            given.update(arguments)

        def launch(self) -> None:
            """Start nothing."""

    monkeypatch.setattr(device, "Fabric", Asked)
    return given


def _set(monkeypatch: pytest.MonkeyPatch, variables: dict[str, str]) -> None:
    for name, value in variables.items():
        monkeypatch.setenv(name, value)


def test_launcher__has_more_to_say_than_the_settings(
    asked: dict[str, object], monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    _set(monkeypatch, TORCHRUN)
    with caplog.at_level(logging.INFO):
        build_fabric(EngineConfig(device="cpu"))
    assert (asked["devices"], asked["num_nodes"]) == (2, 3)
    assert isinstance(asked["plugins"], TorchElasticEnvironment)
    assert "torchrun started 2 process(es) on each of 3 machine(s)." in caplog.text


def test_srun__needs_no_other_option(asked: dict[str, object], monkeypatch: pytest.MonkeyPatch) -> None:
    _set(monkeypatch, BATCH_SCRIPT | STEP | {"SLURM_NNODES": "9", "SLURM_NTASKS_PER_NODE": "9"})
    build_fabric(EngineConfig(device="cpu", devices=2, nodes=2))
    environment = asked["plugins"]
    assert isinstance(environment, SrunEnvironment)
    environment.validate_settings(num_devices=2, num_nodes=2)
    assert environment.world_size() == 4


def test_batch_script__starts_the_processes_of_the_settings(
    asked: dict[str, object], monkeypatch: pytest.MonkeyPatch
) -> None:
    _set(monkeypatch, BATCH_SCRIPT)
    build_fabric(EngineConfig(device="cpu", devices=2))
    assert asked["devices"] == 2
    assert isinstance(asked["plugins"], LightningEnvironment)


def test_alone__leaves_the_choice_to_fabric(asked: dict[str, object]) -> None:
    assert not {"SLURM_NTASKS", "TORCHELASTIC_RUN_ID"} & os.environ.keys()
    build_fabric(EngineConfig(device="cpu"))
    assert asked["plugins"] is None
