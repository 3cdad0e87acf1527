"""What the options that learn from time cost, beside OccFeat on single sweeps: loading, a step, memory, disk.

    python benchmarks/time_options.py --data FOLDER

The student of the recipe cpu-small learns on the default grid of 200 x 200 x 8 voxels, with a teacher cache
that is made first. One core. Loading: seconds per key frame, the options in turn, medians, and the median of
the ratios to OccFeat. A step: targets, forward and backward of one key frame. Memory: growth of the peak
resident size of a fresh process over two loaded key frames and their steps.
"""

import argparse
import statistics
import sys
import tempfile
import time
from functools import partial
from pathlib import Path

import torch
from measuring import growth_mb, in_fresh_process, in_turn, ratio, record

from occfeat.cli import main as occfeat
from occfeat.commands.pretrain import Rigs, build_network, key_frames_of, objectives_of
from occfeat.data.dataset import KeyFrames
from occfeat.data.index.index import Index
from occfeat.data.sample.sample import collate
from occfeat.geometry.grid import build_grid
from occfeat.pretraining.network import PretrainingNetwork, TargetMaker
from occfeat.pretraining.objectives.contract import needs_of
from occfeat.settings.commands import PretrainConfig
from occfeat.settings.recipes import find_recipe
from occfeat.settings.sections import GridConfig, PretrainLossConfig
from occfeat.teacher.cache import TeacherCache

OPTIONS = {
    "OccFeat": PretrainLossConfig(),
    "window of 0.5 s": PretrainLossConfig(window_s=0.5),
    "window, features over time": PretrainLossConfig(window_s=0.5, features_window_s=0.6),
    "path": PretrainLossConfig(path=0.1),
    "other times": PretrainLossConfig(times=1),
    "recipe +time": PretrainLossConfig(window_s=0.5, features_window_s=0.6, path=0.1),
}


def build(data: Path, cache: Path, option: str) -> tuple[KeyFrames, PretrainingNetwork, TargetMaker]:
    """Build what a run with an option loads and trains."""
    sections = find_recipe("cpu-small").sections(PretrainConfig)
    sections |= {"grid": GridConfig(), "loss": OPTIONS[option]}
    config = PretrainConfig(data=data, out=cache / "unused", **sections)
    objectives, stored, index = objectives_of(config), TeacherCache(cache), Index.open(config.sources[0])
    key_frames = key_frames_of(config, index, stored, needs_of(objectives), learn=True)
    network, _ = build_network(config, objectives, stored, Rigs(len(stored.card.cameras)), None)
    return key_frames, network, TargetMaker(objectives, build_grid(config.grid))


def load(key_frames: KeyFrames, row: int) -> float:
    """Seconds to load a key frame."""
    start = time.perf_counter()
    key_frames.sample(row)
    return time.perf_counter() - start


def step(key_frames: KeyFrames, network: PretrainingNetwork, maker: TargetMaker, row: int) -> float:
    """Seconds of a step with one key frame."""
    batch = collate([key_frames.sample(row)])
    start = time.perf_counter()
    network(batch, maker(batch)).loss.backward()
    network.zero_grad()
    return time.perf_counter() - start


def print_memory(data: Path, cache: Path, option: str, row: int) -> None:
    """Print the growth of this process over two key frames."""
    built = build(data, cache, option)
    sys.stdout.write(f"{growth_mb(lambda: [step(*built, row) for _ in range(2)])}\n")


def make_cache(data: Path, path: Path) -> Path:
    """Make the teacher cache of all key frames."""
    words = ["cache", "--recipe", "cpu-small", "--data", data, "--split", "all", "--out", path]
    if occfeat([str(word) for word in words]) != 0:
        raise SystemExit("the teacher cache could not be made")
    return path


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", type=Path, required=True, help="a data set with poses")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--row", type=int, default=20, help="a key frame in the middle of a scene")
    parser.add_argument("--cache", type=Path, help="teacher cache of all its key frames; made if not given")
    parser.add_argument("--memory", choices=OPTIONS, help=argparse.SUPPRESS)
    given = parser.parse_args()
    torch.set_num_threads(1)
    if given.memory:
        print_memory(given.data, given.cache, given.memory, given.row)
        return
    with tempfile.TemporaryDirectory() as folder:
        cache = given.cache or make_cache(given.data, Path(folder) / "cache")
        common = (__file__, "--data", given.data, "--cache", cache, "--row", given.row, "--memory")
        memory = {option: in_fresh_process(*common, option)[0] for option in OPTIONS}
        built = {option: build(given.data, cache, option) for option in OPTIONS}
        loading = {option: partial(load, one[0], given.row) for option, one in built.items()}
        steps = {option: partial(step, *one, given.row) for option, one in built.items()}
        loads, trains = in_turn(loading, given.repeats + 1), in_turn(steps, given.repeats)
        key_frame_mb = TeacherCache(cache).card.key_frame_bytes / 1e6
    print("| option | load, s | to OccFeat | step, s | to OccFeat | memory, MB |\n|---|---|---|---|---|---|")
    for option in OPTIONS:
        one, base = loads[option][1:], loads["OccFeat"][1:]  # the first reads the files
        slower, dearer = ratio(one, base), ratio(trains[option], trains["OccFeat"])
        seconds = (
            f"{statistics.median(one):.2f} | {slower} | {statistics.median(trains[option]):.2f} | {dearer}"
        )
        print(f"| {option} | {seconds} | {memory[option]:.0f} |")
        record(
            f"time options: loading, {option}, over OccFeat", slower.median, spread=(slower.low, slower.high)
        )
    print(f"\nTeacher cache: {key_frame_mb:.1f} MB per key frame; nothing else is stored.")


if __name__ == "__main__":
    main()
