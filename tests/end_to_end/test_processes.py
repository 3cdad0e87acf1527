"""Two processes share a run: one folder, one set of figures, the same network in both."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from occfeat.cli import main
from tests.small_runs import Flags


def _run(words: list[str]) -> str:
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-m", "occfeat", *words]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.slow
def test_two_processes__train_and_evaluate_one_run(flags: Flags, tmp_path: Path) -> None:
    run = tmp_path / "tuned"
    words = ["--optim.epochs", "2", "--val-split", "mini_val", "--engine.devices", "2"]
    _run(flags("finetune", run, *words))
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
def test_two_processes__share_a_teacher_cache(folder: Path, teacher_weights: Path, tmp_path: Path) -> None:
    words = ["cache", "--data", folder, "--split", "all", "--shard-size", 2, "--engine.workers", 0]
    words += ["--teacher.name", "test_vit", "--teacher.weights", teacher_weights]
    words += ["--teacher.image-size", 64, "96", "--engine.device", "cpu", "--batch-size", 1]
    printed = _run([*map(str, words), "--out", str(tmp_path / "two"), "--engine.devices", "2"])
    assert "6 key frames, 6 of them now" in printed
    _run([*map(str, words), "--out", str(tmp_path / "one")])
    for number in range(3):
        two, one = (load_file(tmp_path / name / f"shard-{number:05d}.safetensors") for name in ("two", "one"))
        assert two.keys() == one.keys()
        assert all(torch.equal(two[key], one[key]) for key in one)
