"""How often a training step waits for the device."""

from pathlib import Path
from typing import Any

import pytest

from occfeat.cli import main
from occfeat.training.loop import Trainer
from tests.pretended.device import PretendedGpu
from tests.support.small_runs import Flags

pytestmark = pytest.mark.filterwarnings("ignore:'pin_memory' argument:UserWarning")

MOST = 3
"""Waits that a step may take, whatever its batch."""


@pytest.fixture
def waits_of_steps(gpu: PretendedGpu, monkeypatch: pytest.MonkeyPatch) -> list[dict[str, int]]:
    """Waits of each step that is taken, by place."""
    counted: list[dict[str, int]] = []
    take_step = Trainer._take_step

    def counting(trainer: Trainer[Any], *given: Any) -> None:
        gpu.waits.places.clear()
        take_step(trainer, *given)
        counted.append(dict(gpu.waits.places))

    monkeypatch.setattr(Trainer, "_take_step", counting)
    return counted


TWO_STEPS = ("--augment.bev-rotation-deg", "30", "--engine.device", "cuda", "--optim.batch-size")
"""Options: the plan of every key frame is made anew."""


@pytest.mark.parametrize("batch_size", [1, 3])
@pytest.mark.parametrize("student", ["simplebev", "bevformer", "lss"])
def test_pretraining__a_step_waits_three_times_at_most(
    waits_of_steps: list[dict[str, int]], flags: Flags, tmp_path: Path, student: str, batch_size: int
) -> None:
    options = [*TWO_STEPS, str(batch_size), "--student.kind", student, "--optim.epochs", "2"]
    assert main(flags("pretrain", tmp_path / "run", *options)) == 0
    for waits in after_the_first(waits_of_steps):
        assert sum(waits.values()) <= MOST, list(waits.items())


@pytest.mark.parametrize("batch_size", [1, 3])
def test_fine_tuning__a_step_waits_twice_at_most(
    waits_of_steps: list[dict[str, int]], flags: Flags, tmp_path: Path, batch_size: int
) -> None:
    options = [*TWO_STEPS, str(batch_size), "--classes", "vehicle", "--optim.epochs", "2"]
    assert main(flags("finetune", tmp_path / "run", *options)) == 0
    for waits in after_the_first(waits_of_steps):
        assert sum(waits.values()) <= 2, list(waits.items())


def after_the_first(steps: list[dict[str, int]]) -> list[dict[str, int]]:
    """All steps but the first, which copies constants to the device."""
    assert len(steps) > 1
    return steps[1:]
