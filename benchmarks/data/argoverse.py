"""Argoverse 2: key frames loaded beside decoding alone, and the time to index logs of full size.

    python -m benchmarks.data.argoverse [--logs 100] [--repeats 7]

Loading is all of `KeyFrames.read`: seven JPEGs of the real sizes, resized, and one LiDAR file, in the ego
frame. Decoding alone is what no reader can leave out: cv2 at the same scale, and pyarrow. Decoding and
resizing is what no loader can leave out. They alternate on one thread, and processor time counts. Freed
memory is kept, as in training. The logs to index have as many files and rows as real ones, but the images are
empty.
"""

import argparse
import resource
import sys
import tempfile
import time
import uuid
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pyarrow as pa
import torch
from pyarrow import feather

from occfeat.data.dataset import Draw, KeyFrames
from occfeat.data.formats.argoverse2.calibrated_sensors import POSE, RING
from occfeat.data.images import resize
from occfeat.data.index.index import Index
from occfeat.data.sample.contents import Contents
from occfeat.data.sample.sample import Sample
from occfeat.geometry.grid import build_grid
from occfeat.machine.allocator import keep_freed_memory
from occfeat.settings.sections import DataConfig, GridConfig, ViewConfig

START_NS, RETURNS, SWEEPS, BOXES = 315_966_253_660_357_000, 99_000, 157, 73


def main() -> None:
    """Run the benchmark and print what it measures."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--logs", type=int, default=100)
    parser.add_argument("--repeats", type=int, default=7)
    options = parser.parse_args()
    torch.set_num_threads(1)
    cv2.setNumThreads(1)
    pa.set_cpu_count(1)
    keep_freed_memory()
    with tempfile.TemporaryDirectory() as folder:
        compare_loading(Path(folder) / "one", options.repeats)
        time_index(Path(folder) / "many", options.logs)


def compare_loading(root: Path, repeats: int) -> None:
    """Measure the rate of loading beside that of plain decoding."""
    write_log(root / "train" / str(uuid.uuid4()), np.random.default_rng(0), key_frames=4)
    index = Index.open(DataConfig(root=root))
    key_frames = KeyFrames(index, ViewConfig(), Contents(points=True), grid=build_grid(GridConfig()))
    ratios: dict[str, list[float]] = {"decode": [], "decode and resize": []}
    for repeat in range(repeats + 1):
        seconds = {"load": 0.0, "decode": 0.0, "decode and resize": 0.0}
        for row in range(len(index)):
            begin = time.process_time()
            loaded = isinstance(key_frames.read(Draw(row, 0)), Sample)
            seconds["load"] += time.process_time() - begin
            if not loaded:
                raise RuntimeError("a key frame is broken")
            for way, size in (("decode", None), ("decode and resize", ViewConfig().image_size)):
                begin = time.process_time()
                decode(index, row, size)
                seconds[way] += time.process_time() - begin
        for way in ratios if repeat else ():  # the first fills the caches
            ratios[way].append(seconds[way] / seconds["load"])
    each = ", ".join(f"{way} {spent / len(index):.3f} s" for way, spent in seconds.items())
    say(f"{each} a key frame, of processor time")
    for way, shares in ratios.items():
        say(f"rate beside {way}: {np.median(shares):.2f} ({min(shares):.2f} to {max(shares):.2f})")


def decode(index: Index, row: int, size: tuple[int, int] | None) -> None:
    """Decode the files of a key frame, and nothing else."""
    key_frame = index.key_frame(row)
    for camera in key_frame.cameras:
        data = np.frombuffer((index.root / camera.path).read_bytes(), np.uint8)
        pixels = cv2.imdecode(data, cv2.IMREAD_REDUCED_COLOR_2)
        if size is not None:
            resize(torch.from_numpy(pixels).permute(2, 0, 1), size)
    feather.read_table(str(index.root / key_frame.sweeps[0].path))


def time_index(root: Path, logs: int) -> None:
    """Measure how long an index takes, and its memory."""
    random = np.random.default_rng(0)
    for _ in range(logs):
        write_log(root / "train" / str(uuid.UUID(bytes=random.bytes(16))), random, key_frames=0)
    before_mb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    begin = time.perf_counter()
    index = Index.open(DataConfig(root=root))
    built = time.perf_counter() - begin
    begin = time.perf_counter()
    Index.open(DataConfig(root=root))
    opened = time.perf_counter() - begin
    more_mb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024 - before_mb
    size_mb = index.file.stat().st_size / 1e6
    say(f"{logs} logs, {len(index)} key frames: built in {built:.1f} s, opened again in {opened:.2f} s")
    say(f"{more_mb:.0f} MB more memory, index of {size_mb:.0f} MB")


def write_log(log: Path, random: np.random.Generator, key_frames: int) -> None:
    """Write a log of 16 seconds; with key frames, only these, with images and points."""
    sweep_ns = START_NS + np.arange(SWEEPS) * 99_860_000
    if key_frames:
        sweep_ns = START_NS + np.arange(key_frames) * 500_000_000
    pose_ns = np.unique(np.concatenate((START_NS + np.arange(-20, 3300) * 5_070_000, sweep_ns)))
    put(log / "city_SE3_egovehicle.feather", {"timestamp_ns": pose_ns, **poses(len(pose_ns))})
    names = [*RING, "up_lidar", "down_lidar"]
    put(log / "calibration/egovehicle_SE3_sensor.feather", {"sensor_name": names, **poses(len(names))})
    height = np.array([2048, *[1550] * 6], np.uint16)
    pinhole = {"fx_px": 1700.0, "fy_px": 1700.0, "cx_px": 800.0, "cy_px": 800.0}
    columns: dict[str, Any] = {name: np.full(7, value) for name, value in pinhole.items()}
    size = {"height_px": height, "width_px": (3598 - height).astype(np.uint16)}
    put(log / "calibration/intrinsics.feather", {"sensor_name": list(RING), **columns, **size})
    rows = len(sweep_ns) * BOXES
    boxes = {"timestamp_ns": np.repeat(sweep_ns, BOXES), "track_uuid": [str(uuid.uuid4())] * rows}
    boxes |= {"category": ["REGULAR_VEHICLE"] * rows, "num_interior_pts": np.ones(rows, np.int64)}
    boxes |= {name: random.uniform(1, 4, rows) for name in ("length_m", "width_m", "height_m")}
    put(log / "annotations.feather", {**boxes, **poses(rows)})
    for name, tall in zip(RING, height, strict=True):
        folder = log / "sensors/cameras" / name
        folder.mkdir(parents=True)
        times_ns = sweep_ns if key_frames else START_NS + np.arange(319) * 50_000_000
        for time_ns in times_ns:
            (folder / f"{time_ns}.jpg").write_bytes(jpeg(int(tall), random) if key_frames else b"")
    (log / "sensors/lidar").mkdir()
    for time_ns in sweep_ns:
        path = log / f"sensors/lidar/{time_ns}.feather"
        if key_frames:
            points = {axis: random.uniform(-60, 60, RETURNS).astype(np.float16) for axis in "xyz"}
            points |= {
                name: random.integers(0, 64, RETURNS, np.uint8) for name in ("intensity", "laser_number")
            }
            put(path, {**points, "offset_ns": random.integers(0, 10**8, RETURNS, np.int32)})
        else:
            path.write_bytes(b"")


def poses(count: int) -> dict[str, np.ndarray]:
    """Return the columns of poses that do not move."""
    return {name: np.full(count, float(name == "qw")) for name in POSE}


def jpeg(height: int, random: np.random.Generator) -> bytes:
    """Return a picture with coarse shapes and some noise, about as large as a real one."""
    coarse = random.integers(0, 256, (40, 40, 3), np.uint8)
    picture = cv2.resize(coarse, (3598 - height, height), interpolation=cv2.INTER_CUBIC)
    noise = random.integers(0, 12, picture.shape, np.uint8)
    return cv2.imencode(".jpg", cv2.add(picture, noise), (cv2.IMWRITE_JPEG_QUALITY, 85))[1].tobytes()


def put(path: Path, columns: dict[str, Any]) -> None:
    """Write columns as a Feather file."""
    path.parent.mkdir(parents=True, exist_ok=True)
    feather.write_feather(pa.table(columns), str(path), compression="lz4")


def say(text: str) -> None:
    """Print a line."""
    sys.stdout.write(f"{text}\n")


if __name__ == "__main__":
    main()
