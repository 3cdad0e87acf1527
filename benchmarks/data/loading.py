"""Loading key frames beside a plain loader, and beside decoding alone.

    occfeat cache --data NUSCENES --split all --teacher.name packaged --out CACHE
    python -m benchmarks.data.loading --data NUSCENES --teacher-cache CACHE

Per key frame: the images of all cameras at 224 x 400, the LiDAR sweep, vehicle labels on 200 x 200 cells, and
what the teacher saw. Plain: Pillow decodes and scales, teacher maps are read as floats of sixteen bits, every
box is turned into its footprint by itself. One process with one thread, processor time, the files in the
system's cache; key frames of which something is missing are left out.

Decoding alone: the images and nothing else, whole or at the half scale at which the package decodes them.
Image cache: the student's images are read from `occfeat cache --images`, as pixels or as JPEGs; with zoom, of
up to 1.2 by an augmentation that goes from 0.8 to 1.2. Differences are those of the images of these key
frames, read with the same draws.
"""

import argparse
import statistics
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import cv2
import numpy as np
import torch
from PIL import Image

import occfeat
from benchmarks.measuring import in_turn, ratio, record
from occfeat.data.dataset import Draw, KeyFrames
from occfeat.data.images import read_image
from occfeat.data.index.index import Index
from occfeat.data.keyframe import KeyFrame
from occfeat.data.sample.contents import Contents
from occfeat.data.sample.sample import Sample
from occfeat.data.stored.images import ImageCache
from occfeat.geometry.grid import VoxelGrid
from occfeat.machine.allocator import keep_freed_memory
from occfeat.settings.sections import AugmentConfig, DataConfig, GridConfig, ViewConfig
from occfeat.teacher.cache import TeacherCache

SIZE = (224, 400)
ZOOM = AugmentConfig(scale=(0.8, 1.2), shift=0.1)
ENGINE = {"workers": 0, "max_broken": 1_000_000}


def package(key_frames: KeyFrames, rows: list[int]) -> float:
    """Seconds to load all key frames with the package."""
    start = time.process_time()
    for row in rows:
        key_frames.sample(row)
    return time.process_time() - start


def decoding(root: Path, frames: list[KeyFrame], needed: tuple[int, int] | None) -> float:
    """Seconds to decode all images."""
    start = time.process_time()
    for frame in frames:
        for camera in frame.cameras:
            read_image(root / camera.path, camera.size, needed)
    return time.process_time() - start


def plain(root: Path, frames: list[KeyFrame], maps: list[Path]) -> float:
    """Seconds to load all key frames straightforwardly."""
    start = time.process_time()
    for frame, file in zip(frames, maps, strict=True):
        images = [Image.open(root / camera.path).convert("RGB") for camera in frame.cameras]
        small = [np.asarray(one.resize(SIZE[::-1], Image.Resampling.BILINEAR)) for one in images]
        torch.stack([torch.from_numpy(one.copy()).permute(2, 0, 1) for one in small])
        points = np.fromfile(root / frame.sweeps[0].path, dtype=np.float32).reshape(-1, 5)[:, :3]
        pose = frame.sweeps[0].ego_from_lidar.numpy()
        torch.from_numpy(points @ pose[:3, :3].T + pose[:3, 3])
        torch.from_numpy(np.load(file))
        draw_boxes(frame)
    return time.process_time() - start


def draw_boxes(frame: KeyFrame) -> np.ndarray:
    """Vehicles on 200 x 200 cells of half a metre, box by box."""
    mask = np.zeros((200, 200), dtype=np.uint8)
    for number, category in enumerate(frame.boxes.category):
        if category.startswith("vehicle."):
            length, width = frame.boxes.size_m[number, 1], frame.boxes.size_m[number, 0]
            corners = torch.tensor([[1, 1], [1, -1], [-1, -1], [-1, 1]]) * torch.stack((length, width)) / 2
            turned = corners.double() @ frame.boxes.ego_from_box[number, :2, :2].T
            cells = ((turned + frame.boxes.center_ego[number, :2] + 50) / 0.5).round().int().numpy()
            cv2.fillPoly(mask, [np.ascontiguousarray(cells[:, ::-1])], 1)
    return mask


def whole_image(file: Callable[[], torch.Tensor], *_: object) -> torch.Tensor:
    """Return the image as it is: an effect for which images are decoded whole."""
    return file()


def loader(
    index: Index,
    cache: TeacherCache,
    *,
    half: bool = True,
    stored: Path | None = None,
    augment: AugmentConfig | None = None,
) -> KeyFrames:
    """Return the package's key frames."""
    config = GridConfig()
    return KeyFrames(
        index,
        ViewConfig(image_size=SIZE),
        Contents(points=True, classes=("vehicle",), teacher=cache),
        grid=VoxelGrid(config.lower_m, config.upper_m, config.cell_m),
        effect=None if half else whole_image,
        stored=None if stored is None else ImageCache(stored),
        augment=augment,
    )


def pack(data: Path, folder: Path) -> dict[str, Path]:
    """Image caches of three kinds, by their names."""
    kinds = {"pixels": {}, "JPEG 95": {"quality": 95}, "pixels, zoom": {"largest_zoom": ZOOM.scale[1]}}
    paths = {name: folder / name for name in kinds}
    for name, settings in kinds.items():
        occfeat.cache(data, paths[name], images=True, split="all", engine=ENGINE, **settings)
    return paths


def difference(ours: KeyFrames, theirs: KeyFrames, rows: list[int]) -> str:
    """Return how far the images of two ways are apart, in grey levels of 255."""
    pairs = [(ours.sample(row).images.int(), theirs.sample(row).images.int()) for row in rows[:10]]
    apart = torch.stack([(one - other).abs().float() for one, other in pairs])
    far = (apart > 8).float().mean()
    return f"{apart.mean():.2f} on average, {far:.2%} by more than 8, {apart.max():.0f} at most"


def main(given: argparse.Namespace) -> None:
    """Run the benchmark and print what it measures."""
    torch.set_num_threads(1)
    cv2.setNumThreads(1)
    keep_freed_memory()
    index, cache = Index.open(DataConfig(root=given.data)), TeacherCache(given.teacher_cache)
    half, whole = (loader(index, cache, half=half) for half in (True, False))
    zoomed = loader(index, cache, augment=ZOOM)
    rows = [row for row in map(int, index.rows("all")) if isinstance(half.read(Draw(row, 0)), Sample)]
    rows = rows[: given.key_frames]
    frames = [index.key_frame(row) for row in rows]
    with tempfile.TemporaryDirectory() as folder:
        paths = pack(given.data, Path(folder))
        packed = {
            name: loader(index, cache, stored=path, augment=ZOOM if "zoom" in name else None)
            for name, path in paths.items()
        }
        sizes = {name: sum(file.stat().st_size for file in path.iterdir()) for name, path in paths.items()}
        maps = [Path(folder) / f"{row}.npy" for row in rows]
        for row, file in zip(rows, maps, strict=True):
            np.save(file, cache.read(row).decode().numpy().astype(np.float16))
        ways = {
            "package": partial(package, half, rows),
            "package, zoom": partial(package, zoomed, rows),
            **{f"image cache, {name}": partial(package, one, rows) for name, one in packed.items()},
            "package, whole images": partial(package, whole, rows),
            "decoding whole images alone": partial(decoding, index.root, frames, None),
            "decoding at half scale alone": partial(decoding, index.root, frames, SIZE),
            "plain": partial(plain, index.root, frames, maps),
        }
        times = in_turn(ways, given.repeats)
        apart = {
            name: difference(one, zoomed if "zoom" in name else half, rows) for name, one in packed.items()
        }
    print(f"{len(rows)} key frames, one thread, {given.repeats} alternating repeats\n")
    print("| loading | key frames per second |\n|---|---|")
    for way, seconds in times.items():
        print(f"| {way} | {len(rows) / statistics.median(seconds):.1f} |")
    faster = ratio(times["plain"], times["package"])
    whole_share, half_share = (
        ratio(times[f"decoding {what} alone"], times["package"]).median
        for what in ("whole images", "at half scale")
    )
    print(f"\n{faster} plain's speed, {whole_share:.0%} of the speed of decoding whole images alone,")
    print(f"{half_share:.0%} of that of decoding at half scale alone")
    for name in packed:
        seconds = times[f"image cache, {name}"]
        faster_packed = ratio(times["package, zoom" if "zoom" in name else "package"], seconds)
        print(f"{name}: {faster_packed}, {sizes[name] / len(index) / 1e6:.2f} MB a key frame, {apart[name]}")
        spread, rate = (faster_packed.low, faster_packed.high), len(rows) / statistics.median(seconds)
        record(f"loading: image cache, {name}, over files", faster_packed.median, at_least=3, spread=spread)
        record(f"loading: image cache, {name}, key frames/s and core", rate, at_least=12.5)
    record("loading: times as fast as plain", faster.median, at_least=2, spread=(faster.low, faster.high))
    record("loading: share of the speed of decoding alone", whole_share, at_least=0.8)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--teacher-cache", type=Path, required=True)
    parser.add_argument("--key-frames", type=int, default=40, help="at most")
    parser.add_argument("--repeats", type=int, default=5)
    main(parser.parse_args())
