"""The training loop.

One step: load, compute the targets, forward and backward of each micro-batch, clip, step. A run can be
stopped after any step and resumed with a result that is equal to the last bit.
"""

import logging
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass
from itertools import chain
from textwrap import shorten
from typing import Generic, TypeVar

import torch
from lightning_fabric import Fabric
from torch import Tensor, nn

from occfeat.data.sample.sample import Batch
from occfeat.errors import Interrupted, RunError, SettingsError, TrainingError
from occfeat.machine.footprint import Footprint
from occfeat.machine.interrupt import StopNow, StopRequest
from occfeat.models.recompute import recompute_activations
from occfeat.runs.checkpoint import DAMAGED, Checkpoint, load_checkpoint, save_checkpoint
from occfeat.runs.metrics_log import MetricsLog
from occfeat.runs.run import Run
from occfeat.runs.saved_settings import changed_settings, flat_settings
from occfeat.settings.sections import EngineConfig, OptimConfig
from occfeat.training.attempt import Attempt
from occfeat.training.device import autocast, draw_apart
from occfeat.training.gathering import gather_texts
from occfeat.training.loading.loaders import (
    SLOW_LOADING,
    KeyFrameReader,
    LeftOut,
    Loaded,
    load_batches,
    slow_loading,
)
from occfeat.training.loading.order import Mix, TrainingOrder, steps_for
from occfeat.training.optim.adamw import (
    build_optimizer,
    learning_rate_at,
    restore_optimizer,
    set_learning_rate,
)
from occfeat.training.optim.average import WeightAverage
from occfeat.training.progress import TrainingProgress
from occfeat.training.step import CountsSteps, Step
from occfeat.training.window import Window

logger = logging.getLogger(__name__)
SHOWN = 8
"""Largest number of changed settings to name."""
REASON_LETTERS = 400
"""Longest reason shown, in characters: torch names every tensor."""
Target = TypeVar("Target")


@dataclass(frozen=True)
class Job(Generic[Target]):
    """Inputs of training: network, target, data and settings."""

    network: nn.Module
    """Called as `network(batch, target)`; returns a `Step`."""
    make_target: Callable[[Batch], Target]
    """Computes the target of a batch, without gradients."""
    key_frames: KeyFrameReader
    """Where key frames are read."""
    mix: Mix
    """Key frames to train on."""
    optim: OptimConfig
    engine: EngineConfig


def fit(job: Job[Target], run: Run, fabric: Fabric, *, resume: bool = False) -> None:
    """Train the network of a job in place and measure time and memory; see `Trainer`."""
    trainer = Trainer(job, run, fabric, resume=resume)
    if not run.writes:
        trainer.train()
        return
    with Footprint(run.folder.footprint) as footprint, footprint.stage("training"):
        trainer.train()


class Trainer(Generic[Target]):
    """Runs a job from its first step, or from the last checkpoint of the run.

    Args:
        job: What is trained.
        run: The open run folder, where metrics and checkpoints are written.
        fabric: Devices and processes.
        resume: Start from the checkpoint in the run folder, if there is one.

    Raises:
        Interrupted: From `train`, after Ctrl-C or SIGTERM, with everything saved.
        TrainingError: From `train`, when a loss or gradient is not finite, memory runs out, or more key
            frames are broken or lack images than allowed.
    """

    def __init__(self, job: Job[Target], run: Run, fabric: Fabric, *, resume: bool) -> None:
        self.job, self.run, self.fabric = job, run, fabric
        self.micro_batch_size = micro_batch_size(job.optim, fabric.world_size)
        self.steps = steps_for(len(job.mix), job.optim.epochs, job.optim.batch_size)
        if job.engine.recompute:
            recompute_activations(job.network)
        self._adam = build_optimizer(job.network, job.optim)
        self.network, self.optimizer = fabric.setup(job.network, self._adam)
        horizon = max(1, round(job.optim.ema * self.steps))
        self.average = WeightAverage(job.network, horizon) if job.optim.ema else None
        self._settings = flat_settings(run.folder.path)
        saved = self._load() if resume else None
        self.step = saved.step if saved else 0
        mine = slice(fabric.global_rank, fabric.global_rank + 1)  # empty if this process was not there before
        self.left_out = LeftOut(
            job.engine,
            map(len, job.mix.sets),
            chain.from_iterable(saved.broken[mine] if saved else ()),
            chain.from_iterable(saved.incomplete[mine] if saved else ()),
        )
        self.window = Window(saved.pending if saved and run.writes else None)
        self._line = ""
        self._rows, self._warned = 0, False
        if saved:
            self._restore(saved)
        file, keep_bytes = run.folder.metrics if run.writes else None, saved.metrics_bytes if saved else 0
        self.metrics = MetricsLog(file, keep_bytes=keep_bytes, step=self.step, loggers=job.engine.loggers)

    def train(self) -> None:
        """Take all steps that are left, then save; the network ends with its averaged weights, if any."""
        progress = TrainingProgress(self.steps, self.step, self.run.command)
        with closing(self.metrics), closing(progress), StopRequest() as stop:
            self.network.train()
            self._take_steps(self._batches(), progress, stop)
            self._share_buffers()
            self._save(stop)
            if self.average:
                self.average.write()

    def _take_steps(self, batches: Iterator[Loaded], progress: TrainingProgress, stop: StopRequest) -> None:
        """Take the steps; save a checkpoint from time to time, and when a signal asks to stop."""
        saved_at = time.monotonic()
        while self.step < self.steps:
            try:
                self._take_step(batches, stop)
            except StopNow:
                self._save(stop)
                raise Interrupted(self._resume_message(stop.signal)) from None
            progress.advance(self.step, self._log())
            stopping = self._any_process(stop.signal is not None)
            due = time.monotonic() - saved_at >= 60 * self.job.engine.checkpoint_minutes
            if stopping or self._any_process(due):
                self._save(stop)
                saved_at = time.monotonic()
            if stopping:
                raise Interrupted(self._resume_message(stop.signal))

    def _take_step(self, batches: Iterator[Loaded], stop: StopRequest) -> None:
        """Take one optimiser step of as many micro-batches as make up a batch.

        Raises:
            StopNow: A signal came before the step had begun, while it waited for data.
        """
        optim = self.job.optim
        micro_batches = optim.batch_size // (self.micro_batch_size * self.fabric.world_size)
        set_learning_rate(self._adam, learning_rate_at(self.step, self.steps, optim))
        draw_apart(self.fabric, self.job.engine.seed, self.step)
        if isinstance(self.job.network, CountsSteps):
            self.job.network.begin_step(self.step)
        attempt = Attempt()
        for number in range(1, micro_batches + 1):
            alone = self.fabric.world_size == 1  # others would wait for this process
            with self.window.spent_on("loading"), stop.at_once(alone and number == 1):
                batch = self._without_broken(next(batches))
            if batch is not None:
                self._forward_backward(batch, attempt, 1 / micro_batches, last=number == micro_batches)
        with self.window.spent_on("learning"):
            norm = attempt.finish(self.job.network)
            if self._any_process(bool(attempt.trouble)):
                raise attempt.error(self.step)
            self._update(attempt, norm)
            self.optimizer.zero_grad(set_to_none=True)
        self.step += 1

    def _forward_backward(self, batch: Batch, attempt: Attempt, share: float, *, last: bool) -> None:
        """Run forward and backward of one micro-batch."""
        batch = batch.to(self.fabric.device, non_blocking=True)
        precision = self.job.engine.precision
        try:
            with self.window.spent_on("teaching"), autocast(self.fabric.device, precision):
                target = self.job.make_target(batch)
            with (
                self.window.spent_on("learning"),
                self.fabric.no_backward_sync(self.network, enabled=not last),
            ):
                with autocast(self.fabric.device, precision):
                    step: Step = self.network(batch, target)
                attempt.add(step, batch.tokens)
                self.fabric.backward(step.loss * share)
        except torch.OutOfMemoryError as error:
            hint = "Halve `--optim.micro-batch-size`; the batch size stays the same."
            raise TrainingError(f"Out of memory with {len(batch)} key frames at once.", hint=hint) from error

    def _update(self, attempt: Attempt, norm: Tensor) -> None:
        """Update the weights by the gradients, with their norm clipped, and then their average."""
        if self.job.optim.clip_norm:
            parameters = self.job.network.parameters()
            nn.utils.clip_grads_with_norm_(parameters, self.job.optim.clip_norm, norm)
        self.optimizer.step()
        if self.average:
            self.average.update(self.step + 1)
        for metrics in attempt.metrics:
            self.window.add(metrics)

    def _without_broken(self, loaded: Loaded) -> Batch | None:
        """Return the batch without its broken key frames, and count what is left out."""
        self.left_out.add(loaded)
        if loaded.batch is None and self.fabric.world_size > 1:
            hint = "Repair them, or train in one process, which can skip a whole batch."
            raise TrainingError("All key frames of one process are broken in this step.", hint=hint)
        return loaded.batch

    def _log(self) -> str:
        """Write a row of metrics if one is due; return a short line about the last one."""
        if self.step % self.job.engine.log_every and self.step != self.steps:
            return self._line
        metrics = self.window.metrics(self.fabric)
        broken, incomplete = self.left_out.over_all(self.fabric)
        left_out = {"broken_key_frames": broken, "incomplete_key_frames": incomplete}
        metrics |= {name: float(count) for name, count in left_out.items() if count}
        metrics["learning_rate"] = learning_rate_at(self.step - 1, self.steps, self.job.optim)
        self.metrics.write(self.step, metrics)
        self.window = Window()
        shown = {name: value for name, value in metrics.items() if not name.startswith("time/")}
        words = "  ".join(f"{name} {value:.3g}" for name, value in shown.items())
        self._line = f"up to step {self.step}: {words}  loading {metrics['time/loading']:.0%} of the time"
        self._warn_of_slow_loading(metrics["time/loading"])
        return self._line

    def _warn_of_slow_loading(self, share: float) -> None:
        """Warn once of slow loading; the first rows also hold the start of the loading processes."""
        if share > SLOW_LOADING and self._rows > 1 and not self._warned:
            logger.warning(slow_loading(share, self.job.engine.workers))
            self._warned = True
        self._rows += 1

    def _batches(self) -> Iterator[Loaded]:
        """Return the batches of this process from the next step on."""
        order = TrainingOrder(
            self.job.mix,
            seed=self.job.engine.seed,
            batch_size=self.job.optim.batch_size,
            micro_batch_size=self.micro_batch_size,
            steps=self.steps,
            first_step=self.step,
            rank=self.fabric.global_rank,
            world_size=self.fabric.world_size,
        )
        pin = self.fabric.device.type == "cuda"
        return load_batches(self.job.key_frames, order, self.job.engine, pin=pin)

    def _save(self, stop: StopRequest) -> None:
        """Write a checkpoint, however long that takes; all processes must call it at once."""
        with stop.saving():
            self._write_checkpoint()
            self.fabric.barrier()

    def _write_checkpoint(self) -> None:
        """Write a checkpoint in the first process, with what it needs of the others."""
        pending = self.window.pending(self.fabric)
        broken = gather_texts(self.left_out.broken, self.fabric)
        incomplete = gather_texts(self.left_out.incomplete, self.fabric)
        if self.run.writes:
            checkpoint = Checkpoint(
                step=self.step,
                network=self.job.network.state_dict(),
                average=self.average.tensors if self.average else {},
                optimizer=self.optimizer.state_dict(),
                random_state=torch.get_rng_state(),
                pending=pending,
                metrics_bytes=self.metrics.sync(),
                broken=broken,
                incomplete=incomplete,
                settings=self._settings,
            )
            save_checkpoint(self.run.folder.checkpoint, checkpoint)

    def _load(self) -> Checkpoint | None:
        """Read the checkpoint of the run, if there is one; say which settings have changed since.

        Raises:
            RunError: It cannot be used, or the settings ask for fewer steps than it has.
        """
        file = self.run.folder.checkpoint
        if not file.exists():
            logger.info("There is no checkpoint %s: the run begins with its first step", file)
            return None
        saved = load_checkpoint(file)
        if changed := changed_settings(saved.settings, self._settings):
            what = "Settings are not those of the checkpoint, which its %d steps have followed: %s"
            logger.warning(what, saved.step, "; ".join(changed[:SHOWN] + ["…"] * (len(changed) > SHOWN)))
        if saved.step > self.steps:
            what = f"{file} is of step {saved.step}, and the settings ask for {self.steps} steps."
            hint = "Restore optim.epochs and optim.batch_size, or start a new run in another folder."
            raise RunError(what, hint=hint)
        return saved

    def _restore(self, saved: Checkpoint) -> None:
        """Load network, average, optimiser and random state of a checkpoint."""
        try:
            self.job.network.load_state_dict(saved.network)
            if self.average:
                self.average.restore(saved.average)
            restore_optimizer(self._adam, saved.optimizer)
            torch.set_rng_state(saved.random_state)
        except (RuntimeError, ValueError, TypeError, LookupError, AttributeError) as error:
            reason = shorten(str(error), REASON_LETTERS, placeholder=" …")
            message = f"{self.run.folder.checkpoint} does not belong to this network: {reason}"
            raise RunError(message, hint=DAMAGED) from error
        logger.info("resuming after step %d of %d", self.step, self.steps)

    def _share_buffers(self) -> None:
        """Copy the running statistics of the first process to all others, also averaged ones."""
        if self.fabric.world_size > 1:
            averages = self.average.tensors.values() if self.average else ()
            for tensor in (*self.job.network.buffers(), *averages):
                torch.distributed.broadcast(tensor, src=0)

    def _any_process(self, wish: bool) -> bool:
        """Return whether any process wants something: all must save and stop after the same step."""
        if self.fabric.world_size == 1:
            return wish
        wishes = self.fabric.all_reduce(torch.tensor(float(wish), device=self.fabric.device), reduce_op="sum")
        return bool(wishes)

    def _resume_message(self, reason: signal.Signals | None) -> str:
        """Return why the run stopped and the command that resumes it."""
        why = reason.name if reason else "Another process stopped"
        return (
            f"{why}: saved after step {self.step} of {self.steps}. "
            f"Go on with: occfeat {self.run.command} --resume {self.run.folder.path}"
        )


def micro_batch_size(optim: OptimConfig, world_size: int) -> int:
    """Return how many key frames each device processes at once.

    Raises:
        SettingsError: The batch size is not a multiple of devices times micro-batch size.
    """
    share, rest = divmod(optim.batch_size, world_size)
    size = optim.micro_batch_size or share
    if rest or share % size:
        raise SettingsError(
            f"A batch of {optim.batch_size} cannot be split evenly over {world_size} device(s) "
            f"in micro-batches of {size}.",
            hint="Choose `--optim.batch-size` as a multiple of devices times `--optim.micro-batch-size`.",
        )
    return size
