"""What the options of objectives cost beside OccFeat on single sweeps: loading, a step, memory, disk.

    python -m benchmarks.training.options

A street world of three key frames with sweeps at 20 Hz is built, and a teacher cache for each kind of
teacher. The network of the recipe cpu-small learns from the key frame in the middle. `measured` is a step
that measures the ratio of gradients, by default one in 50. `two blocks` are the packaged teacher's blocks 7
and 10, `stages` is EfficientNet-lite0's stage of stride 16, and `two teachers` are the packaged one and that.
Times: processor time of one thread, the options in turn, medians and their ratios to OccFeat turn by turn. A
step: targets, forward and backward. Memory: growth of the peak resident size of a process of its own over two
loaded key frames and their steps (Linux). Disk: a key frame in the cache.
"""

import multiprocessing
import statistics
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import torch

from benchmarks.measuring import arguments, in_turn, peak_above_mb, ratio, record
from occfeat.commands.cache.cache import cache
from occfeat.data.dataset import KeyFrames
from occfeat.data.index.index import Index
from occfeat.data.sample.sample import collate
from occfeat.geometry.grid import build_grid
from occfeat.pretraining.build import Rigs, build_network, objectives_of
from occfeat.pretraining.key_frames import key_frames_of
from occfeat.pretraining.network import PretrainingNetwork, TargetMaker
from occfeat.pretraining.objectives.contract import needs_of
from occfeat.settings.commands import CacheConfig, PretrainConfig
from occfeat.settings.recipes import find_recipe
from occfeat.settings.sections import (
    NO_TEACHER,
    EngineConfig,
    PretrainLossConfig,
    TeacherConfig,
)
from occfeat.teacher.cache import TeacherCache
from streetworld.build import build_world
from streetworld.config import WorldConfig

MIDDLE, MEASURED_EVERY = 1, 50
PLAIN = "OccFeat"
Answer = TypeVar("Answer")
BACK_M, FRONT_M = (-0.657, -0.865), (3.427, 0.865)
"""Corners of a car, those of nuScenes'."""
TRANSFORMER = TeacherConfig(name="packaged", image_size=(168, 294))
STAGES = TeacherConfig(name="tf_efficientnet_lite0", weights="packaged", image_size=(160, 288))
TEACHERS = {
    "transformer": (TRANSFORMER, NO_TEACHER),
    "blocks": (TRANSFORMER.model_copy(update={"block": (7, 10)}), NO_TEACHER),
    "stages": (STAGES, NO_TEACHER),
    "two": (TRANSFORMER, STAGES),
}


@dataclass(frozen=True)
class Option:
    """What is learned, and from which teacher."""

    loss: PretrainLossConfig
    teacher: str = "transformer"
    measured: bool = False


OPTIONS = {
    PLAIN: Option(PretrainLossConfig()),
    "measured": Option(PretrainLossConfig(), measured=True),
    "center mean": Option(PretrainLossConfig(center="mean")),
    "center position": Option(PretrainLossConfig(center="position")),
    "two blocks": Option(PretrainLossConfig(), teacher="blocks"),
    "stages": Option(PretrainLossConfig(), teacher="stages"),
    "two teachers": Option(PretrainLossConfig(), teacher="two"),
    "window of 0.5 s": Option(PretrainLossConfig(window_s=0.5)),
    "window, features over time": Option(PretrainLossConfig(window_s=0.5, features_window_s=0.6)),
    "path": Option(PretrainLossConfig(path=0.1, car_lower_m=BACK_M, car_upper_m=FRONT_M)),
    "other times, five": Option(PretrainLossConfig(times=1)),
    "recipe +time": Option(
        PretrainLossConfig(
            window_s=0.5, features_window_s=0.6, path=0.1, car_lower_m=BACK_M, car_upper_m=FRONT_M
        )
    ),
}


@dataclass(frozen=True)
class Built:
    """What a run with an option loads and trains."""

    key_frames: KeyFrames
    network: PretrainingNetwork
    maker: TargetMaker

    def load(self) -> float:
        """Return the processor time of loading a key frame."""
        start = time.process_time()
        self.key_frames.sample(MIDDLE)
        return time.process_time() - start

    def step(self) -> float:
        """Return the processor time of a step with one key frame."""
        batch = collate([self.key_frames.sample(MIDDLE)])
        start = time.process_time()
        self.network(batch, self.maker(batch)).loss.backward()
        self.network.zero_grad()
        return time.process_time() - start


def build(folder: Path, option: Option) -> Built:
    """Build what a run with an option loads and trains."""
    teacher, second = TEACHERS[option.teacher]
    sections = find_recipe("cpu-small").sections(PretrainConfig)
    sections |= {"loss": option.loss, "teacher": teacher, "second_teacher": second}
    config = PretrainConfig(data=(folder / "world",), out=folder / "unused", **sections)
    objectives, index = objectives_of(config), Index.open(config.sources[0])
    stored = TeacherCache(folder / option.teacher)
    key_frames = key_frames_of(config, index, stored, needs_of(objectives), learn=True)
    network, _ = build_network(config, objectives, stored, Rigs(len(stored.card.cameras)), None)
    network.train().measures = option.measured
    return Built(
        key_frames, network, TargetMaker(objectives, build_grid(config.grid), None, network.usual_maps)
    )


def prepare(folder: Path) -> None:
    """Build the world, and the cache of each kind of teacher."""
    out = folder / "world"
    build_world(WorldConfig(out=out, scenes=1, key_frames=3, sweeps=9, town_size=3, workers=1))
    engine = EngineConfig(workers=0, device="cpu")
    for name, (first, second) in TEACHERS.items():
        cache(
            CacheConfig(
                data=out,
                split="all",
                out=folder / name,
                teacher=first,
                second_teacher=second,
                engine=engine,
            )
        )


def memory_mb(folder: Path, option: str) -> float:
    """Return the growth of this process over two key frames."""
    built = build(folder, OPTIONS[option])
    return peak_above_mb(lambda: [built.step() for _ in range(2)])


def alone(work: Callable[..., Answer], *given: object) -> Answer:
    """Return what some work gives in a process of its own, which leaves this one small."""
    with multiprocessing.get_context("fork").Pool(1) as pool:
        return pool.apply(work, given)


def main(repeats: int) -> None:
    """Measure every option and print a table."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        alone(prepare, folder)
        memory = {option: alone(memory_mb, folder, option) for option in OPTIONS}
        built = {name: build(folder, option) for name, option in OPTIONS.items()}
        loads = in_turn({name: one.load for name, one in built.items()}, repeats + 1)
        steps = in_turn({name: one.step for name, one in built.items()}, repeats)
        cached = {name: TeacherCache(folder / name).card.key_frame_bytes / 1e6 for name in TEACHERS}
    print("| option | load, s | to OccFeat | step, s | to OccFeat | memory, MB | disk, MB per key frame |")
    print("|---|---|---|---|---|---|---|")
    for name, option in OPTIONS.items():
        one, base = loads[name][1:], loads[PLAIN][1:]  # the first reads the files
        slower, dearer = ratio(one, base), ratio(steps[name], steps[PLAIN])
        times = f"{statistics.median(one):.2f} | {slower} | {statistics.median(steps[name]):.2f} | {dearer}"
        print(f"| {name} | {times} | {memory[name]:.0f} | {cached[option.teacher]:.2f} |")
        record(f"options: loading, {name}, over OccFeat", slower.median, spread=(slower.low, slower.high))
        record(f"options: step, {name}, over OccFeat", dearer.median, spread=(dearer.low, dearer.high))
    more = ratio(steps["measured"], steps[PLAIN])
    share, spread = ((more.median - 1) / MEASURED_EVERY), (more.low - 1, more.high - 1)
    print(f"\nmeasuring in one of {MEASURED_EVERY} steps: {share:.2%} of a step on average")
    within = (spread[0] / MEASURED_EVERY, spread[1] / MEASURED_EVERY)
    record("measuring the ratio of gradients: share of a step", share, at_most=0.02, spread=within)


if __name__ == "__main__":
    torch.set_num_threads(1)
    main(arguments(__doc__, 3).repeats)
