"""The loop: resuming is exact, broken key frames are counted, what is not finite is named."""

import json
import re
import signal
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from lightning_fabric import Fabric
from torch import Tensor, nn

from occfeat.data.dataset import BrokenKeyFrame, Draw
from occfeat.data.sample.sample import Batch, Sample
from occfeat.errors import Interrupted, RunError, SettingsError, TrainingError
from occfeat.machine import interrupt
from occfeat.machine.interrupt import StopRequest
from occfeat.runs.checkpoint import Checkpoint, load_checkpoint, save_checkpoint
from occfeat.runs.run import Run
from occfeat.settings.sections import EngineConfig, OptimConfig
from occfeat.training import loop
from occfeat.training.device import draw_apart
from occfeat.training.loading import loaders
from occfeat.training.loading.order import Mix
from occfeat.training.loop import Job, Trainer
from occfeat.training.step import Step, mean_of
from tests.support.rigs import ring_of_cameras

CHANGES_WITH_TIME = ("time/",)


class Numbers:
    """Key frame r shows the number r + epoch / 10 in every pixel; those in `broken` cannot be read."""

    def __init__(
        self, broken: tuple[int, ...] = (), poison: int | None = None, incomplete: tuple[int, ...] = ()
    ) -> None:
        self.broken, self.poison, self.incomplete = broken, poison, incomplete

    def read(self, draw: Draw) -> Sample | BrokenKeyFrame:
        if draw.row in self.broken:
            return BrokenKeyFrame(f"frame{draw.row}", f"frame{draw.row}: cannot be read")
        rig = ring_of_cameras(1, (2, 2)).of_key_frame(0)
        level = 255 if draw.row == self.poison else draw.row * 10 + draw.epoch
        lost = (f"frame{draw.row}.jpg is missing.",) if draw.row in self.incomplete else ()
        pixels = torch.full((1, 3, 2, 2), level, dtype=torch.uint8)
        return Sample(f"frame{draw.row}", pixels, rig, lost_images=lost)


class Stuck(Numbers):
    """A disk that answers no more after some reads; SIGTERM comes while it is waited for."""

    def __init__(self, reads: int) -> None:
        super().__init__()
        self.reads = reads

    def read(self, draw: Draw) -> Sample | BrokenKeyFrame:
        self.reads -= 1
        if self.reads < 0:
            signal.raise_signal(signal.SIGTERM)
        return super().read(draw)


class Learner(nn.Module):
    """Learns the level of the images through batch norm and dropout, which draws random numbers."""

    def __init__(self) -> None:
        super().__init__()
        self.net = nn.Sequential(nn.Linear(3, 8), nn.BatchNorm1d(8), nn.Dropout(0.3), nn.Linear(8, 1))

    def forward(self, batch: Batch, target: Tensor) -> Step:
        pixels = batch.images.float().mean((1, 3, 4)) / 255
        loss = (self.net(pixels)[:, 0] - target).square().mean()
        if (batch.images == 255).any():
            loss = loss * float("nan")
        return Step(loss, {"loss": mean_of(loss)})


def _target(batch: Batch) -> Tensor:
    return batch.images.float().mean((1, 2, 3, 4)) / 100


def _job(data: Numbers | None = None, *, ema: float = 0, **engine: object) -> Job[Tensor]:
    torch.manual_seed(5)
    settings = {"seed": 1, "workers": 0, "log_every": 3, "checkpoint_minutes": 1000} | engine
    optim = OptimConfig(epochs=4, batch_size=4, micro_batch_size=2, learning_rate=0.01, ema=ema)
    config = EngineConfig.model_validate(settings)
    return Job(Learner(), _target, data or Numbers(), Mix((np.arange(7),)), optim, config)


def _train(path: Path, job: Job[Tensor], *, resume: bool = False, stop_after: int | None = None) -> None:
    fabric = Fabric(accelerator="cpu", devices=1)
    with Run.start(path, "pretrain", job.engine, fabric, "f", resume=resume) as run:
        trainer = Trainer(job, run, fabric, resume=resume)
        if stop_after is not None:
            original = trainer._take_step

            def take_step(batches: object, stop: StopRequest) -> None:
                original(batches, stop)  # type: ignore[arg-type]
                if trainer.step == stop_after:
                    signal.raise_signal(signal.SIGTERM)

            trainer._take_step = take_step  # type: ignore[method-assign,assignment]
        trainer.train()


def _learned_rows(path: Path) -> list[dict[str, float]]:
    rows = [json.loads(line) for line in (path / "metrics.jsonl").read_text().splitlines()]
    return [
        {name: value for name, value in row.items() if not name.startswith(CHANGES_WITH_TIME)} for row in rows
    ]


@pytest.mark.parametrize(("stop_after", "ema"), [(1, 0), (3, 0), (4, 0), (6, 0), (1, 0.5), (4, 0.5)])
def test_stop_and_resume__ends_bit_for_bit_like_an_uninterrupted_run(
    tmp_path: Path, stop_after: int, ema: float
) -> None:
    whole = _job(ema=ema)
    _train(tmp_path / "whole", whole)
    stopped = _job(ema=ema)
    with pytest.raises(Interrupted, match=f"saved after step {stop_after} of 7.*--resume"):
        _train(tmp_path / "parts", stopped, stop_after=stop_after)
    resumed = _job(ema=ema)
    torch.manual_seed(999)  # a new process starts with other random numbers
    _train(tmp_path / "parts", resumed, resume=True)
    for name, tensor in whole.network.state_dict().items():
        assert torch.equal(tensor, resumed.network.state_dict()[name]), name
    assert _learned_rows(tmp_path / "whole") == _learned_rows(tmp_path / "parts")
    assert [row["step"] for row in _learned_rows(tmp_path / "parts")] == [3, 6, 7]


def test_stop__a_checkpoint_that_takes_longer_than_a_step_may_is_finished(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def save_slowly(path: Path, checkpoint: Checkpoint) -> None:
        time.sleep(0.6)
        save_checkpoint(path, checkpoint)

    monkeypatch.setattr(interrupt, "GRACE_S", 0.2)
    monkeypatch.setattr(loop, "save_checkpoint", save_slowly)
    with pytest.raises(Interrupted, match="saved after step 3 of 7"):
        _train(tmp_path / "run", _job(), stop_after=3)
    assert load_checkpoint(tmp_path / "run" / "checkpoints" / "last.pt").step == 3


def test_resume__settings_that_were_edited_are_named(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with pytest.raises(Interrupted):
        _train(tmp_path / "run", _job(), stop_after=3)
    _train(tmp_path / "run", _job(), resume=True)
    assert "Settings are not those" not in caplog.text
    with pytest.raises(Interrupted):
        _train(tmp_path / "edited", _job(), stop_after=3)
    file = tmp_path / "edited" / "settings.yaml"
    file.write_text(file.read_text().replace("seed: 1\n", "seed: 8\n"))
    _train(tmp_path / "edited", _job(), resume=True)
    assert (
        "Settings are not those of the checkpoint, which its 3 steps have followed: seed: 1, now 8"
        in caplog.text
    )


def test_resume__of_more_steps_than_the_settings_ask_for_is_refused(tmp_path: Path) -> None:
    with pytest.raises(Interrupted):
        _train(tmp_path / "run", _job(), stop_after=6)
    job = _job()
    shorter = replace(job, optim=job.optim.model_copy(update={"epochs": 2}))
    with pytest.raises(RunError, match=r"last\.pt is of step 6, and the settings ask for 4 steps"):
        _train(tmp_path / "run", shorter, resume=True)


def test_resume__without_a_checkpoint_says_that_it_begins_anew(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    whole = _job()
    _train(tmp_path / "run", whole)
    (tmp_path / "run" / "checkpoints" / "last.pt").unlink()
    again = _job()
    _train(tmp_path / "run", again, resume=True)
    assert "the run begins with its first step" in caplog.text
    assert _learned_rows(tmp_path / "run")[0]["step"] == 3
    for name, tensor in whole.network.state_dict().items():
        assert torch.equal(tensor, again.network.state_dict()[name]), name


def test_resume__checkpoint_of_another_network_is_refused_in_few_words(tmp_path: Path) -> None:
    with pytest.raises(Interrupted):
        _train(tmp_path / "run", _job(), stop_after=3)
    other = _job()
    other.network.net = nn.Sequential(*(nn.Linear(8, 8) for _ in range(50)))
    with pytest.raises(RunError, match=r"last\.pt does not belong to this network") as caught:
        _train(tmp_path / "run", other, resume=True)
    assert len(caught.value.message) < 700


def test_resume__rows_written_after_the_checkpoint_are_cut_off(tmp_path: Path) -> None:
    _train(tmp_path / "run", _job())
    metrics = tmp_path / "run" / "metrics.jsonl"
    before = metrics.read_bytes()
    metrics.write_bytes(before + b'{"step": 8, "lo')  # killed while writing a row
    _train(tmp_path / "run", _job(), resume=True)
    assert metrics.read_bytes() == before


def test_accumulation__equals_one_large_batch(tmp_path: Path) -> None:
    results = []
    for micro_batch_size in (4, 1):
        job = _job()
        job.network.net = nn.Linear(3, 1)  # without batch norm, which depends on the cut
        torch.manual_seed(0)
        nn.init.normal_(job.network.net.weight)
        optim = job.optim.model_copy(update={"micro_batch_size": micro_batch_size})
        _train(tmp_path / str(micro_batch_size), replace(job, optim=optim))
        results.append(job.network.net.weight.detach().clone())
    assert torch.allclose(*results, atol=1e-6)


def test_workers__do_not_change_the_result(tmp_path: Path) -> None:
    states = []
    for workers in (0, 2):
        job = _job(workers=workers)
        _train(tmp_path / str(workers), job)
        states.append(job.network.state_dict())
    assert all(torch.equal(states[0][name], states[1][name]) for name in states[0])


def test_broken_key_frames__stop_the_run_by_default(tmp_path: Path) -> None:
    with pytest.raises(TrainingError, match=r"frame3: cannot be read") as caught:
        _train(tmp_path / "run", _job(Numbers(broken=(3,))))
    assert "--engine.max-broken" in str(caught.value)


def test_broken_key_frames__are_skipped_up_to_the_limit(tmp_path: Path) -> None:
    job = _forgiving(broken=(3, 5))  # each of them once in each of four epochs
    _train(tmp_path / "run", job)
    assert load_checkpoint(tmp_path / "run" / "checkpoints" / "last.pt").broken == [["frame3", "frame5"]]
    assert _learned_rows(tmp_path / "run")[-1]["broken_key_frames"] == 2
    with pytest.raises(TrainingError, match=r"2 broken key frame\(s\), 1 allowed"):
        _train(tmp_path / "less", replace(job, engine=job.engine.model_copy(update={"max_broken": 1})))


def _forgiving(broken: tuple[int, ...]) -> Job[Tensor]:
    """A job that may skip as many key frames as are broken."""
    job = _job(Numbers(broken=broken), max_broken=len(broken), log_every=1)
    job.network.net = nn.Linear(3, 1)  # batch norm cannot learn from the one that is left of two
    return job


def test_incomplete_key_frames__are_named_and_counted_once_up_to_the_limit(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    job = _job(Numbers(incomplete=(3, 5)), max_incomplete=0.3, log_every=1)  # each in each of four epochs
    _train(tmp_path / "run", job)
    assert load_checkpoint(tmp_path / "run" / "checkpoints" / "last.pt").incomplete == [["frame3", "frame5"]]
    assert _learned_rows(tmp_path / "run")[-1]["incomplete_key_frames"] == 2
    assert caplog.text.count("A camera is left out of key frame frame5: frame5.jpg is missing.") == 1
    less = _job(Numbers(incomplete=(3, 5)), max_incomplete=0.01)
    with pytest.raises(TrainingError, match=r"2 key frame\(s\) lack a camera, 1 allowed") as caught:
        _train(tmp_path / "less", less)
    assert "--engine.max-incomplete" in str(caught.value)


def test_incomplete_key_frames__are_counted_once_after_resuming_too(tmp_path: Path) -> None:
    def job() -> Job[Tensor]:
        return _job(Numbers(incomplete=(3, 5)), max_incomplete=0.3, log_every=1)

    _train(tmp_path / "whole", job())
    with pytest.raises(Interrupted):
        _train(tmp_path / "parts", job(), stop_after=4)
    _train(tmp_path / "parts", job(), resume=True)
    assert _learned_rows(tmp_path / "whole") == _learned_rows(tmp_path / "parts")
    saved = [load_checkpoint(tmp_path / name / "checkpoints" / "last.pt") for name in ("whole", "parts")]
    assert saved[0].incomplete == saved[1].incomplete == [["frame3", "frame5"]]


def test_key_frames_left_out__are_those_of_all_processes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def with_another_process(texts: set[str], fabric: Fabric) -> list[list[str]]:
        return [sorted(texts), ["frame3", "frame6"]]

    job = _job(Numbers(broken=(3, 5)), max_broken=3, max_incomplete=0.3, log_every=1)
    job.network.net = nn.Linear(3, 1)  # batch norm cannot learn from the one that is left of two
    monkeypatch.setattr(loaders, "gather_texts", with_another_process)
    _train(tmp_path / "run", job)
    last = _learned_rows(tmp_path / "run")[-1]
    assert (last["broken_key_frames"], last["incomplete_key_frames"]) == (3, 2)
    less = replace(job, engine=job.engine.model_copy(update={"max_broken": 2}))
    with pytest.raises(TrainingError, match=r"3 broken key frame\(s\), 2 allowed"):
        _train(tmp_path / "less", less)
    less = replace(job, engine=job.engine.model_copy(update={"max_incomplete": 0.01}))
    with pytest.raises(TrainingError, match=r"2 key frame\(s\) lack a camera, 1 allowed"):
        _train(tmp_path / "fewer", less)


def test_random_numbers__are_those_of_each_process_and_come_again(monkeypatch: pytest.MonkeyPatch) -> None:
    fabric = Fabric(accelerator="cpu", devices=1)

    def draw(rank: int, step: int) -> list[float]:
        monkeypatch.setattr(Fabric, "global_rank", rank)
        torch.manual_seed(1)  # all processes begin alike
        draw_apart(fabric, 1, step)
        return torch.rand(3).tolist()

    assert draw(0, 0) == draw(0, 7) == torch.rand(3, generator=torch.Generator().manual_seed(1)).tolist()
    others = [draw(rank, step) for rank in (1, 2) for step in (0, 1)]
    assert len({tuple(one) for one in (draw(0, 0), *others)}) == 5
    assert draw(2, 1) == others[-1]


@pytest.mark.parametrize(("reads", "step"), [(0, 0), (8, 2), (10, 3)])
def test_stop_while_waiting_for_data__loses_no_step(tmp_path: Path, reads: int, step: int) -> None:
    whole = _job()
    _train(tmp_path / "whole", whole)
    with pytest.raises(Interrupted, match=f"SIGTERM: saved after step {step} of 7"):
        _train(tmp_path / "parts", _job(Stuck(reads)))
    resumed = _job()
    _train(tmp_path / "parts", resumed, resume=True)
    for name, tensor in whole.network.state_dict().items():
        assert torch.equal(tensor, resumed.network.state_dict()[name]), name


@pytest.mark.parametrize("stop_after", [1, 4, 6])
def test_broken_key_frames__are_counted_once_after_resuming_too(tmp_path: Path, stop_after: int) -> None:
    _train(tmp_path / "whole", _forgiving(broken=(3, 5)))
    with pytest.raises(Interrupted):
        _train(tmp_path / "parts", _forgiving(broken=(3, 5)), stop_after=stop_after)
    _train(tmp_path / "parts", _forgiving(broken=(3, 5)), resume=True)
    assert _learned_rows(tmp_path / "whole") == _learned_rows(tmp_path / "parts")
    saved = [load_checkpoint(tmp_path / name / "checkpoints" / "last.pt") for name in ("whole", "parts")]
    assert saved[0].broken == saved[1].broken


class SlowNumbers(Numbers):
    """Numbers from a slow disk."""

    def read(self, draw: Draw) -> Sample | BrokenKeyFrame:
        time.sleep(0.03)
        return super().read(draw)


def test_slow_loading__is_said_once_with_what_to_do(tmp_path: Path) -> None:
    _train(tmp_path / "slow", _job(SlowNumbers(), log_every=1))
    log = (tmp_path / "slow" / "log.txt").read_text()
    assert log.count("WARNING") == 1
    assert re.search(r"WARNING \d\d% of the time is spent waiting for data. Raise --engine.workers", log)


def test_loss_that_is_not_finite__names_metric_and_key_frames(tmp_path: Path) -> None:
    with pytest.raises(TrainingError, match=r"not finite \(loss\)") as caught:
        _train(tmp_path / "run", _job(Numbers(poison=2)))
    assert "frame2" in str(caught.value)


def test_gradient_that_is_not_finite__names_the_tensor(tmp_path: Path) -> None:
    job = _job()
    job.network.net[3].weight.register_hook(lambda gradient: gradient * float("inf"))
    with pytest.raises(TrainingError, match=r"gradient of net\.3\.weight is not finite"):
        _train(tmp_path / "run", job)


def test_gradients_that_are_finite_but_too_large_together__are_said(tmp_path: Path) -> None:
    job = _job()
    for layer in (0, 3):
        job.network.net[layer].weight.register_hook(lambda gradient: torch.full_like(gradient, 1e38))
    with pytest.raises(TrainingError, match="norm of the gradients is not finite"):
        _train(tmp_path / "run", job)


def test_batch_size__that_cannot_be_split_is_refused(tmp_path: Path) -> None:
    job = _job()
    run = Run.create(tmp_path / "run", "pretrain", job.engine, fingerprint="f")
    fabric = Fabric(accelerator="cpu", devices=1)
    optim = job.optim.model_copy(update={"batch_size": 5, "micro_batch_size": 2})
    with run, pytest.raises(SettingsError, match="cannot be split"):
        Trainer(replace(job, optim=optim), run, fabric, resume=False)
