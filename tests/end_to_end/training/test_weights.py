"""Weights, centring and teachers of the features: resumed as if uninterrupted, shared by two processes."""

import json
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import timm
import torch
from safetensors.torch import save_file

from occfeat.cli import main
from occfeat.runs.checkpoint import load_checkpoint
from tests.end_to_end.forks import run_ranks
from tests.support.small_runs import Flags, stopping_after

AUTO = ["--loss.features", "auto", "--loss.ratio", "0.2", "--loss.ratio-every", "2"]
OPTIONS = {
    "auto": [*AUTO, "--optim.micro-batch-size", "1", "--engine.recompute"],
    "blocks": ["--teacher.block", "0", "1", "--teacher-cache", "cache"],
    "convolutional": [
        *("--teacher.name", "test_resnet", "--teacher.weights", "resnet", "--teacher.block", "2"),
        *("--teacher-cache", "cache"),
    ],
    "two teachers": [
        *("--second-teacher.name", "test_resnet", "--second-teacher.weights", "resnet"),
        *("--second-teacher.image-size", "64", "128", "--loss.center", "position"),
        *("--head.feature-channels", "4", "--loss.features", "0.3"),
    ],
    "position": ["--loss.center", "position", "--loss.features", "0.3"],
}
"""Flags of every option."""
STEPS = ["--optim.epochs", "4", "--augment.bev-flip"]
"""Six steps of two key frames."""


@pytest.fixture
def stopped_after_three_steps(monkeypatch: pytest.MonkeyPatch) -> Iterator[pytest.MonkeyPatch]:
    """A signal that stops a run after its third step, until it is undone."""
    with stopping_after(3, monkeypatch) as patched:
        yield patched


@pytest.fixture
def resnet(tmp_path: Path) -> Path:
    """Random weights of a small convolutional network."""
    torch.manual_seed(0)
    save_file(timm.create_model("test_resnet").state_dict(), tmp_path / "resnet.safetensors")
    return tmp_path / "resnet.safetensors"


@pytest.fixture
def words_of(flags: Flags, resnet: Path, tmp_path: Path) -> Callable[[str], list[str]]:
    """Flags of an option; the teacher cache that it names is made."""

    def of(option: str) -> list[str]:
        words = [str(resnet) if word == "resnet" else word for word in OPTIONS[option]]
        if "--teacher-cache" in words:
            made = tmp_path / "cache"
            shared = flags("pretrain", made)
            of_teacher = shared[shared.index("--teacher.name") : shared.index("--head.channels")]
            data = shared[1 : shared.index("--view.image-size")]
            blocks = words[: words.index("--teacher-cache")]
            assert main(["cache", *data, *of_teacher, *blocks, "--engine.workers", "0"]) == 0
            words = [str(made) if word == "cache" else word for word in words]
        return [*STEPS, *words]

    return of


def rows_of(run: Path) -> list[dict[str, float]]:
    rows = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    return [{name: row[name] for name in row if not name.startswith("time/")} for row in rows]


@pytest.mark.parametrize("option", OPTIONS)
def test_resumed_run__ends_bit_for_bit_the_same(
    option: str,
    words_of: Callable[[str], list[str]],
    flags: Flags,
    tmp_path: Path,
    stopped_after_three_steps: pytest.MonkeyPatch,
) -> None:
    words = words_of(option)
    assert main(flags("pretrain", tmp_path / "run", *words)) == 130
    stopped_after_three_steps.undo()
    assert main(["pretrain", "--resume", str(tmp_path / "run")]) == 0
    assert main(flags("pretrain", tmp_path / "whole", *words)) == 0
    runs = (tmp_path / "run", tmp_path / "whole")
    first, second = (load_checkpoint(run / "checkpoints" / "last.pt") for run in runs)
    assert first.network.keys() == second.network.keys()
    assert all(torch.equal(first.network[name], second.network[name]) for name in first.network)
    assert rows_of(tmp_path / "run") == rows_of(tmp_path / "whole")


@pytest.mark.parametrize("command", ["pretrain", "finetune"])
def test_resume__needs_no_backbone_weights_and_ends_bit_for_bit_the_same(
    command: str, flags: Flags, tmp_path: Path, stopped_after_three_steps: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "backbone.safetensors"
    torch.manual_seed(0)
    save_file(timm.create_model("test_efficientnet").state_dict(), file)
    words = [*STEPS, "--student.backbone-weights", str(file)]
    words += ["--val-split", "None"] if command == "finetune" else ["--loss.features", "0"]
    assert main(flags(command, tmp_path / "run", *words)) == 130
    stopped_after_three_steps.undo()
    assert main(flags(command, tmp_path / "whole", *words)) == 0
    file.unlink()
    assert main([command, "--resume", str(tmp_path / "run")]) == 0
    first, second = ((tmp_path / one / "weights.safetensors").read_bytes() for one in ("run", "whole"))
    assert first == second
    assert rows_of(tmp_path / "run") == rows_of(tmp_path / "whole")


def test_auto__logs_the_ratio_and_the_weight_in_use(flags: Flags, tmp_path: Path) -> None:
    assert main(flags("pretrain", tmp_path / "run", *STEPS, *AUTO)) == 0
    rows = rows_of(tmp_path / "run")
    assert [row["step"] for row in rows if "ratio/features" in row] == [1, 2, 4, 6]
    weights = [row["weight/features"] for row in rows]
    assert weights[0] == 0
    assert weights[1] > 0
    assert weights[2] != weights[1]
    assert weights[2] == weights[3]
    assert rows[1]["loss"] == pytest.approx(
        rows[1]["loss/occupancy"] + weights[1] * rows[1]["loss/features"], rel=1e-5
    )


@pytest.mark.slow
@pytest.mark.parametrize("option", OPTIONS)
def test_two_processes__train_like_one(
    option: str, words_of: Callable[[str], list[str]], flags: Flags, tmp_path: Path
) -> None:
    words = [*words_of(option), "--student.backbone", "test_convnext"]  # without batch statistics
    assert main(flags("pretrain", tmp_path / "one", *words)) == 0
    run_ranks(flags("pretrain", tmp_path / "two", *words, "--engine.devices", "2"), tmp_path)
    for alone, shared in zip(rows_of(tmp_path / "one"), rows_of(tmp_path / "two"), strict=True):
        assert alone.keys() == shared.keys()
        for name in alone:
            if name.startswith(("loss", "ratio", "weight")):
                assert shared[name] == pytest.approx(alone[name], rel=0.02, abs=0.02), name
