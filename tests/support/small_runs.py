"""A small data folder, a small teacher and settings that run in seconds."""

import json
import os
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import timm
import torch
from safetensors.torch import save_file

from occfeat.training.loop import Trainer
from tests.support.nuscenes_folder import build_nuscenes_folder

Flags = Callable[..., list[str]]


@pytest.fixture(scope="session")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two scenes (mini_train and mini_val) of three key frames with six cameras of 90 x 160."""
    return build_nuscenes_folder(tmp_path_factory.mktemp("data") / "nuscenes")


@pytest.fixture(scope="session")
def teacher_weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Random weights of a small vision transformer, as a user's local file."""
    torch.manual_seed(0)
    path = tmp_path_factory.mktemp("weights") / "teacher.safetensors"
    transformer = timm.create_model("test_vit", pretrained=False, num_classes=0)
    save_file(transformer.state_dict(), path)
    return path


@pytest.fixture(scope="session")
def flags(folder: Path, teacher_weights: Path) -> Flags:
    """Flags of a run that takes seconds, for `pretrain` or `finetune`."""

    def of(command: str, out: Path, *more: str) -> list[str]:
        shared = ["--data", folder, "--out", out, "--split", "mini_train", "--view.image-size", 48, 80]
        shared += ["--grid.lower-m", -16, -16, -1, "--grid.upper-m", 16, 16, 3, "--grid.cell-m", 1, 1, 1]
        shared += ["--student.backbone", "test_efficientnet", "--student.backbone-weights", "none"]
        shared += ["--student.image-channels", 8, "--student.bev-channels", 8, "--engine.device", "cpu"]
        shared += ["--optim.batch-size", 2, "--engine.workers", 0, "--engine.log-every", 1]
        if command == "pretrain":
            shared += ["--teacher.name", "test_vit", "--teacher.weights", teacher_weights]
            shared += ["--teacher.image-size", 64, 96, "--head.channels", 8]
        return [command, *map(str, shared), *more]

    return of


def rows_of(run: Path) -> list[dict[str, float]]:
    """Rows of the metrics of a run."""
    return [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]


@contextmanager
def stopping_after(steps: int, monkeypatch: pytest.MonkeyPatch) -> Iterator[pytest.MonkeyPatch]:
    """A signal stops a run after some steps, until the patch that is given is undone or the block ends."""
    take_step = Trainer._take_step

    def stop(trainer: Trainer[Any], *given: Any) -> None:
        take_step(trainer, *given)
        if trainer.step == steps:
            os.kill(os.getpid(), signal.SIGTERM)

    with monkeypatch.context() as patched:
        patched.setattr(Trainer, "_take_step", stop)
        yield patched
