"""Run folders and checkpoints: nothing overwritten, nothing half written, nothing unpickled."""

import json
import pickle
from pathlib import Path

import pytest
import torch
import yaml

from occfeat.errors import RunError, SettingsError
from occfeat.machine.atomic import LOCK, lock_folder
from occfeat.runs import run
from occfeat.runs.checkpoint import Checkpoint, load_checkpoint, save_checkpoint
from occfeat.runs.run import Run
from occfeat.runs.saved_settings import read_settings
from occfeat.settings.commands import PretrainConfig
from occfeat.settings.sections import EngineConfig


def _checkpoint(step: int = 3) -> Checkpoint:
    return Checkpoint(
        step=step,
        network={"weight": torch.arange(4.0)},
        optimizer={"state": {0: {"step": torch.tensor(3.0)}}, "param_groups": [{"lr": 0.1}]},
        random_state=torch.get_rng_state(),
        pending={"loss": (1.5, 2.0)},
        metrics_bytes=17,
        broken=[["a", "b"], []],
    )


def _create(path: Path, command: str = "pretrain") -> Run:
    return Run.create(path, command, EngineConfig(), fingerprint="abc")


def test_checkpoint__survives_the_round_trip(tmp_path: Path) -> None:
    saved = _checkpoint()
    save_checkpoint(tmp_path / "last.pt", saved)
    loaded = load_checkpoint(tmp_path / "last.pt")
    assert torch.equal(loaded.network["weight"], saved.network["weight"])
    assert loaded.optimizer == saved.optimizer
    assert (loaded.step, loaded.pending, loaded.metrics_bytes) == (3, {"loss": (1.5, 2.0)}, 17)
    assert loaded.broken == [["a", "b"], []]


@pytest.mark.parametrize("damage", [b"", b"garbage", b"PK\x03\x04cut short"])
def test_checkpoint__damage_is_a_clear_error(tmp_path: Path, damage: bytes) -> None:
    (tmp_path / "last.pt").write_bytes(damage)
    with pytest.raises(RunError, match=r"last\.pt cannot be read as a checkpoint"):
        load_checkpoint(tmp_path / "last.pt")


def test_checkpoint__truncated_file_is_a_clear_error(tmp_path: Path) -> None:
    save_checkpoint(tmp_path / "last.pt", _checkpoint())
    whole = (tmp_path / "last.pt").read_bytes()
    (tmp_path / "last.pt").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(RunError, match="cannot be read"):
        load_checkpoint(tmp_path / "last.pt")


def test_checkpoint__a_full_disk_is_a_clear_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(_: object, path: Path) -> None:
        path.write_bytes(b"half")
        raise RuntimeError("PytorchStreamWriter failed writing file data/0: file write failed")

    save_checkpoint(tmp_path / "last.pt", _checkpoint(step=3))
    monkeypatch.setattr(torch, "save", full)
    with pytest.raises(RunError, match=r"last\.pt could not be written: .*file write failed"):
        save_checkpoint(tmp_path / "last.pt", _checkpoint(step=4))
    assert load_checkpoint(tmp_path / "last.pt").step == 3


class Exploit:
    def __reduce__(self) -> tuple[object, ...]:
        return print, ("code from a checkpoint was run",)


@pytest.mark.parametrize("container", [dict, list])
def test_checkpoint__pickled_code_is_refused(
    tmp_path: Path, container: type, capsys: pytest.CaptureFixture[str]
) -> None:
    content = {"version": 1, "network": Exploit()} if container is dict else [Exploit()]
    torch.save(content, tmp_path / "last.pt")
    with pytest.raises(RunError, match="cannot be read"):
        load_checkpoint(tmp_path / "last.pt")
    (tmp_path / "bare.pt").write_bytes(pickle.dumps(content))
    with pytest.raises(RunError, match="cannot be read"):
        load_checkpoint(tmp_path / "bare.pt")
    assert "code from a checkpoint was run" not in capsys.readouterr().out


def test_checkpoint__other_versions_are_refused(tmp_path: Path) -> None:
    torch.save({"version": 99}, tmp_path / "last.pt")
    with pytest.raises(RunError, match="version 99"):
        load_checkpoint(tmp_path / "last.pt")


def test_checkpoint__of_the_version_before_averages_is_read(tmp_path: Path) -> None:
    save_checkpoint(tmp_path / "last.pt", _checkpoint())
    state = torch.load(tmp_path / "last.pt", weights_only=True)
    del state["average"]
    torch.save(state | {"version": 4}, tmp_path / "last.pt")
    loaded = load_checkpoint(tmp_path / "last.pt")
    assert loaded.average == {}
    assert torch.equal(loaded.shipped["weight"], _checkpoint().network["weight"])


def test_run__refuses_a_folder_that_holds_something(tmp_path: Path) -> None:
    (tmp_path / "precious.txt").write_text("do not lose me")
    with pytest.raises(RunError, match="not empty") as caught:
        _create(tmp_path)
    assert "--resume" not in str(caught.value)
    assert [file.name for file in tmp_path.iterdir()] == ["precious.txt"]


def test_run__writes_settings_that_read_back(tmp_path: Path) -> None:
    config = PretrainConfig(data=Path("/data"), out=tmp_path / "run")
    with Run.create(tmp_path / "run", "pretrain", config, fingerprint="abc"):
        pass
    assert read_settings(tmp_path / "run", PretrainConfig) == config
    environment = json.loads((tmp_path / "run" / "environment.json").read_text())
    assert environment["command"] == "pretrain"
    assert environment["data_fingerprint"] == "abc"
    assert environment["versions"]["torch"] == torch.__version__.split("+")[0]


def test_run__two_processes_cannot_share_a_folder(tmp_path: Path) -> None:
    with _create(tmp_path / "run"), pytest.raises(RunError, match="Another process"):
        Run.reopen(tmp_path / "run", "pretrain", "abc")
    with Run.reopen(tmp_path / "run", "pretrain", "abc"):
        pass


def test_run__a_start_waits_for_nobody_and_leaves_nothing(tmp_path: Path) -> None:
    with lock_folder(tmp_path), pytest.raises(RunError, match="Another process"):
        _create(tmp_path)
    assert {file.name for file in tmp_path.iterdir()} <= {LOCK}  # some versions of filelock remove it
    with _create(tmp_path):
        pass


def test_run__of_two_starts_at_once_the_first_keeps_its_settings(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def overtaken(path: Path) -> None:
        monkeypatch.undo()
        with Run.create(path, "pretrain", EngineConfig(seed=7), fingerprint="abc"):
            pass

    monkeypatch.setattr(run, "make_folder", overtaken)
    with pytest.raises(RunError, match="not empty"):
        _create(tmp_path / "run")
    assert read_settings(tmp_path / "run", EngineConfig).seed == 7


def test_run__resuming_with_another_command_or_data_is_refused(tmp_path: Path) -> None:
    with _create(tmp_path / "run"):
        pass
    with pytest.raises(RunError, match="is a run of `pretrain`"):
        Run.reopen(tmp_path / "run", "finetune", "abc")
    with pytest.raises(RunError, match="have changed"):
        Run.reopen(tmp_path / "run", "pretrain", "other")
    with pytest.raises(RunError, match="not a run folder"):
        Run.reopen(tmp_path / "nowhere", "pretrain", "abc")


@pytest.mark.parametrize(
    "content", ["epochs: [", "- a list", "seed: minus one", "seeed: 1", "!!python/object:os.x"]
)
def test_settings__damaged_files_are_clear_errors(tmp_path: Path, content: str) -> None:
    (tmp_path / "settings.yaml").write_text(content)
    with pytest.raises(SettingsError, match=r"settings\.yaml"):
        read_settings(tmp_path, EngineConfig)


def test_settings__yaml_is_plain(tmp_path: Path) -> None:
    config = PretrainConfig(data=Path("/data"), out=Path("o"))
    with Run.create(tmp_path / "run", "pretrain", config, fingerprint=""):
        pass
    text = (tmp_path / "run" / "settings.yaml").read_text()
    assert "!!" not in text
    assert yaml.safe_load(text)["optim"]["epochs"] == 50


def test_run__that_ended_before_it_began_is_started_again(tmp_path: Path) -> None:
    (tmp_path / "environment.json").write_text("{}")
    (tmp_path / ".settings.yaml.partial").write_text("half")
    (tmp_path / LOCK).touch()
    with _create(tmp_path):
        assert read_settings(tmp_path, EngineConfig) == EngineConfig()
    with pytest.raises(RunError, match="not empty"):
        _create(tmp_path)
