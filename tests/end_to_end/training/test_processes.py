"""Two processes share a run: one folder, one set of metrics, the same network in both."""

import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from occfeat.cli import main
from occfeat.data.index.index import Index
from occfeat.runs.checkpoint import load_checkpoint
from occfeat.settings.sections import DataConfig
from tests.end_to_end.forks import free_port, run_ranks
from tests.support.small_runs import Flags


@pytest.mark.slow
def test_two_processes__train_and_evaluate_one_run(flags: Flags, tmp_path: Path) -> None:
    run = tmp_path / "tuned"
    words = ["--optim.epochs", "2", "--val-split", "mini_val", "--engine.devices", "2"]
    run_ranks(flags("finetune", run, *words), tmp_path)
    rows = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    assert [row["step"] for row in rows] == [1, 2, 3]
    together = json.loads((run / "evaluation-mini_val" / "results.json").read_text())
    assert together["key_frames"] == 3
    data = flags("finetune", run)[2]
    out = tmp_path / "alone"
    words = ["evaluate", str(run), "--data", data, "--split", "mini_val", "--out", str(out)]
    assert main([*words, "--engine.workers", "0"]) == 0
    alone = json.loads((out / "results.json").read_text())
    assert alone["metrics"] == pytest.approx(together["metrics"], abs=1e-9)
    assert all(torch.isfinite(tensor).all() for tensor in load_file(run / "weights.safetensors").values())


@pytest.mark.slow
def test_two_processes__average_to_the_weights_of_one(flags: Flags, tmp_path: Path) -> None:
    words = ["--loss.features", "0", "--optim.epochs", "4", "--optim.ema", "0.5"]
    words += ["--student.backbone", "test_convnext"]  # normalises within each image
    assert main(flags("pretrain", tmp_path / "one", *words)) == 0
    run_ranks(flags("pretrain", tmp_path / "two", *words, "--engine.devices", "2"), tmp_path)
    one, two = (load_file(tmp_path / name / "weights.safetensors") for name in ("one", "two"))
    for name, value in one.items():
        torch.testing.assert_close(two[name], value, rtol=1e-3, atol=1e-4, msg=name)
    saved = load_checkpoint(tmp_path / "two" / "checkpoints" / "last.pt")
    assert all(torch.equal(two[name], saved.average.get(name, saved.network[name])) for name in two)


@pytest.mark.slow
def test_two_processes__learn_without_an_occupancy_loss(flags: Flags, tmp_path: Path) -> None:
    run = tmp_path / "run"
    words = ["--loss.occupancy", "0", "--loss.features", "0", "--loss.queries", "1"]
    words += ["--optim.epochs", "2", "--engine.devices", "2"]
    run_ranks(flags("pretrain", run, *words), tmp_path)
    rows = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    assert [row["step"] for row in rows] == [1, 2, 3]


@pytest.mark.slow
def test_two_processes__a_mistake_is_said_without_a_traceback(flags: Flags, tmp_path: Path) -> None:
    run = tmp_path / "run"
    run.mkdir()
    (run / "something.txt").write_text("a file of the user's")
    words = [sys.executable, "-m", "occfeat", *flags("pretrain", run, "--engine.devices", "2")]
    done = subprocess.run(words, capture_output=True, text=True, timeout=300)
    assert done.returncode == 2
    assert f"{run} is not empty" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.slow
def test_two_processes__each_remembers_the_broken_key_frames_it_met(
    flags: Flags, folder: Path, tmp_path: Path
) -> None:
    data, run = Path(shutil.copytree(folder, tmp_path / "data")), tmp_path / "run"
    broken, incomplete = (Index.open(DataConfig(root=data)).key_frame(row) for row in (0, 1))
    for camera in (*broken.cameras, incomplete.cameras[0]):
        image = data / camera.path
        image.write_bytes(image.read_bytes()[:500])
    words = ["--split", "all", "--optim.batch-size", "4", "--optim.epochs", "8", "--val-split", "None"]
    words += ["--data", str(data), "--pictures", "0", "--engine.devices", "2", "--engine.max-broken", "1"]
    for command in (flags("finetune", run, *words), ["finetune", "--resume", str(run)]):
        run_ranks(command, tmp_path)
        saved = load_checkpoint(run / "checkpoints" / "last.pt")
        assert saved.broken == [[broken.token]] * 2
        assert saved.incomplete == [[incomplete.token]] * 2


def _torchrun(words: list[str], folder: Path) -> None:
    """One process on each of two machines, by the program that users start."""
    machine = [sys.executable, "-m", "torch.distributed.run", "--nnodes", "2", "--nproc-per-node", "1"]
    machine += ["--master-addr", "127.0.0.1", "--master-port", str(free_port())]
    started = []
    for rank in range(2):
        node = [*machine, "--node-rank", str(rank), "-m", "occfeat", *words]
        started.append(subprocess.Popen(node, stderr=subprocess.PIPE, text=True))
    for process in started:
        _, errors = process.communicate(timeout=300)
        assert process.returncode == 0, errors


@pytest.mark.slow
@pytest.mark.parametrize(
    ("backbone", "tolerance", "start"),
    [
        ("test_convnext", 1e-5, _torchrun),  # normalises within each image
        # its batch statistics are those of each process's key frame
        ("test_efficientnet", 0.05, partial(run_ranks, machines=2)),
    ],
)
def test_two_machines__give_the_losses_of_one_process(
    backbone: str, tolerance: float, start: Callable[[list[str], Path], object], flags: Flags, tmp_path: Path
) -> None:
    words = ["--loss.features", "0", "--optim.epochs", "2", "--student.backbone", backbone]
    assert main(flags("pretrain", tmp_path / "one", *words)) == 0
    start(flags("pretrain", tmp_path / "two", *words, "--engine.nodes", "2"), tmp_path)
    rows = {
        name: [json.loads(line) for line in (tmp_path / name / "metrics.jsonl").read_text().splitlines()]
        for name in ("one", "two")
    }
    assert len(rows["one"]) == len(rows["two"]) == 3
    for alone, shared in zip(rows["one"], rows["two"], strict=True):
        assert shared["loss"] == pytest.approx(alone["loss"], rel=tolerance)


def test_unequal_numbers_of_processes__are_refused(
    flags: Flags, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    started = {"RANK": 0, "LOCAL_RANK": 0, "GROUP_RANK": 0, "WORLD_SIZE": 3, "LOCAL_WORLD_SIZE": 2}
    for name, value in started.items():
        monkeypatch.setenv(name, str(value))
    monkeypatch.setenv("TORCHELASTIC_RUN_ID", "1")
    assert main(flags("pretrain", tmp_path / "run")) == 2
    errors = capsys.readouterr().err
    assert "expected equally many processes on each machine, got 2 of 3 here" in errors
    assert "Traceback" not in errors


@pytest.mark.slow
def test_two_processes__share_a_teacher_cache(folder: Path, teacher_weights: Path, tmp_path: Path) -> None:
    words = ["cache", "--data", folder, "--split", "all", "--shard-size", 2, "--engine.workers", 0]
    words += ["--teacher.name", "test_vit", "--teacher.weights", teacher_weights]
    words += ["--teacher.image-size", 64, "96", "--engine.device", "cpu", "--batch-size", 1]
    two = [*map(str, words), "--out", str(tmp_path / "two"), "--engine.devices", "2"]
    assert "6 key frames, 6 of them now" in run_ranks(two, tmp_path)
    assert main([*map(str, words), "--out", str(tmp_path / "one")]) == 0
    for number in range(3):
        shared, alone = (
            load_file(tmp_path / name / f"shard-{number:05d}.safetensors") for name in ("two", "one")
        )
        assert shared.keys() == alone.keys()
        assert all(torch.equal(shared[key], alone[key]) for key in alone)
