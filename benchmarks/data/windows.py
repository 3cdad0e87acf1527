"""Windows of 21 sweeps: time and memory beside a single sweep and beside every ray; sweeps of the world.

    python -m benchmarks.data.windows

A street world of three key frames with sweeps at 20 Hz: 21 files within half a second of the second key
frame are read, turned into its ego frame and traced in the default grid of 200 x 200 x 8 voxels. Times are
processor time of one thread. Memory: peak of a process above its size before. Beside them, what one sweep of
the world costs, and a whole key frame.
"""

import argparse
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import torch

from benchmarks.measuring import arguments, in_fresh_process, in_turn, peak_above_mb, ratio, record
from occfeat.data.augment import draw_change
from occfeat.data.index.index import Index
from occfeat.data.sample.contents import WindowRequest
from occfeat.data.sweeps import window
from occfeat.data.sweeps.slices import trace_slices
from occfeat.geometry.grid import build_grid
from occfeat.settings.sections import DataConfig, GridConfig, ViewConfig
from streetworld.build import build_world
from streetworld.config import WorldConfig
from streetworld.request import SceneRequest
from streetworld.scene import build_scene
from streetworld.town.lots import TownRequest

GRID = build_grid(GridConfig())
SAME = draw_change(None, 6, seed=0, epoch=0, row=0)
SINGLE, WINDOW, EVERY_RAY = "single sweep", "21 sweeps", "21 sweeps, every ray"
WAYS = (SINGLE, WINDOW, EVERY_RAY)


def drive(folder: Path) -> Index:
    """Build a world of one short scene with all sweeps."""
    out = folder / "world"
    world = WorldConfig(
        out=out, scenes=1, key_frames=3, sweeps=9, town_size=3, image_size=(32, 48), workers=1
    )
    return Index.open(DataConfig(root=build_world(world)))


def read(index: Index, window_s: float) -> torch.Tensor:
    """Return the states of the middle key frame."""
    reader = window.WindowReader(index, ViewConfig(), GRID, SAME)
    states: torch.Tensor = reader.read(1, WindowRequest(window_s)).states
    return states


def read_every_ray(index: Index) -> torch.Tensor:
    """Return the states with every ray followed."""
    window.trace_slices = partial(trace_slices, all_rays=True)
    try:
        return read(index, 0.5)
    finally:
        window.trace_slices = trace_slices


def way_of(name: str, index: Index) -> Callable[[], torch.Tensor]:
    """Return what makes states in one of the ways."""
    ways: dict[str, Callable[[], torch.Tensor]] = {
        SINGLE: partial(read, index, 0.0),
        WINDOW: partial(read, index, 0.5),
        EVERY_RAY: partial(read_every_ray, index),
    }
    return ways[name]


def seconds(work: Callable[[], object]) -> float:
    """Return the processor time of some work."""
    start = time.process_time()
    work()
    return time.process_time() - start


def world_seconds(repeats: int) -> tuple[float, float]:
    """Return the processor time of one sweep of the street world, and of one key frame of six cameras."""
    scene = build_scene(
        SceneRequest("cost", TownRequest(2, 0, 3), 1, 3, "nuscenes", (224, 400), ("noon",), 0, False)
    )

    def key_frame() -> None:
        """Make a key frame as it is written."""
        views = [scene.look(camera, 1) for camera in scene.rig.cameras]
        scene.labels(1, views, [scene.scan(0.5)])

    key_frame()
    times = in_turn(
        {"sweep": partial(seconds, partial(scene.scan, 0.45)), "key frame": partial(seconds, key_frame)},
        repeats,
    )
    return statistics.median(times["sweep"]), statistics.median(times["key frame"])


def main(repeats: int) -> None:
    """Print both tables."""
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        index = drive(Path(folder))
        memory = {way: in_fresh_process(__file__, "--memory", way, "--world", index.root)[0] for way in WAYS}
        states = {way: way_of(way, index)() for way in WAYS}
        times = in_turn({way: partial(seconds, way_of(way, index)) for way in WAYS}, repeats)
    print("| states of a key frame | s on one core | extra memory MB | voxels as with every ray |")
    print("|---|---|---|---|")
    for way in WAYS:
        equal = "" if way == SINGLE else f"{float((states[way] == states[EVERY_RAY]).float().mean()):.2%}"
        print(f"| {way} | {statistics.median(times[way]):.3f} | {memory[way]:.0f} | {equal} |")
    spread = min(times[WINDOW]), max(times[WINDOW])
    print(f"\n21 sweeps: {spread[0]:.3f} to {spread[1]:.3f} s")
    print(f"every ray: {ratio(times[EVERY_RAY], times[WINDOW])} the time of 21 sweeps")
    print(f"21 sweeps: {ratio(times[WINDOW], times[SINGLE])} the time of a single sweep")
    sweep, key_frame = world_seconds(repeats)
    print(f"\nstreet world: a sweep {sweep:.2f} s, a key frame {key_frame:.2f} s: {sweep / key_frame:.0%}")
    record("window of 21 sweeps: s on one core", statistics.median(times[WINDOW]), at_most=0.5, spread=spread)


if __name__ == "__main__":
    if "--memory" in sys.argv:
        parser = argparse.ArgumentParser()
        parser.add_argument("--memory")
        parser.add_argument("--world", type=Path)
        given = parser.parse_args()
        torch.set_num_threads(1)
        work = way_of(given.memory, Index.open(DataConfig(root=given.world)))
        work()  # what is loaded on first use does not count
        print(peak_above_mb(work))
    else:
        main(arguments(__doc__, 7).repeats)
