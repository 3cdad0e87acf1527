"""Loading key frames for a teacher cache: the teacher's images alone, beside images for student and teacher.

    python -m benchmarks.data.cache_loading --data FOLDER

Images have the size of the teacher of the recipe `cpu-small`; for student and teacher each is scaled twice.
One process with one thread, the files in the system's cache.
"""

import argparse
import time
from functools import partial
from pathlib import Path

import cv2
import torch

from benchmarks.measuring import in_turn, ratio, record
from occfeat.data.dataset import KeyFrames
from occfeat.data.index.index import Index
from occfeat.data.sample.contents import Contents, ImagesForTeacher
from occfeat.geometry.grid import build_grid
from occfeat.settings.recipes import find_recipe
from occfeat.settings.sections import DataConfig, GridConfig, ViewConfig


def seconds(key_frames: KeyFrames, count: int) -> float:
    """Return the time to load the first key frames."""
    start = time.perf_counter()
    for position in range(min(count, len(key_frames))):
        key_frames[position]
    return time.perf_counter() - start


def main(given: argparse.Namespace) -> None:
    """Measure both ways in turn."""
    torch.set_num_threads(1)
    cv2.setNumThreads(1)
    index, size = Index.open(DataConfig(root=given.data)), find_recipe("cpu-small").teacher.image_size
    view, grid = ViewConfig(image_size=size), build_grid(GridConfig())
    contents = {"teacher alone": Contents(), "student and teacher": Contents(teacher=ImagesForTeacher(size))}
    key_frames = {name: KeyFrames(index, view, one, grid=grid) for name, one in contents.items()}
    ways = {name: partial(seconds, one, given.key_frames) for name, one in key_frames.items()}
    in_turn(ways, 1)  # files come into the system's cache
    times = in_turn(ways, given.repeats)
    faster = ratio(times["student and teacher"], times["teacher alone"])
    print(f"{faster} the speed of loading images for student and teacher")
    record("loading for a cache: times as fast", faster.median, at_least=1, spread=(faster.low, faster.high))


if __name__ == "__main__":
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--key-frames", type=int, default=20, help="at most")
    parser.add_argument("--repeats", type=int, default=7)
    main(parser.parse_args())
