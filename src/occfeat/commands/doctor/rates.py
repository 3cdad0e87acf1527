"""How fast a device learns, how much memory it takes, and what the loader can feed."""

import time
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

import cv2
import numpy as np
import psutil
import torch

from occfeat.commands.cache.images import cache_images
from occfeat.commands.doctor.compare import FULL, HALF, STUDENTS, Learner, build_learner
from occfeat.commands.doctor.rows import Row
from occfeat.commands.doctor.scene import LAPTOP, LIDAR_M, PAPER, make_batch, make_rig, make_surfaces
from occfeat.data.dataset import KeyFrames
from occfeat.data.formats.nuscenes.writer.folder import NuScenesWriter
from occfeat.data.formats.nuscenes.writer.values import (
    CalibratedCamera,
    CalibratedRig,
    CameraImage,
    EgoPose,
    LidarSweep,
)
from occfeat.data.index.index import Index
from occfeat.data.sample.contents import Contents
from occfeat.data.sample.sample import Batch
from occfeat.data.stored.images import ImageCache
from occfeat.machine.processor import usable_cores
from occfeat.settings.commands import CacheConfig
from occfeat.settings.sections import DataConfig, EngineConfig, ViewConfig

SECONDS = 5.0
"""Time in which a rate is measured."""
BATCH = {"cuda": 4, "mps": 2, "cpu": 1}
"""Key frames of a step on each kind of device."""
FRAME_PX = (900, 1600)
WRITTEN = 4
"""Key frames that are written for the loader to read."""


def learning_rates(device: torch.device) -> Iterator[Row]:
    """Measure steps of each student, at the paper's sizes on a GPU and at those of `cpu-small` on a CPU."""
    sizes, of_recipe = (LAPTOP, "cpu-small") if device.type == "cpu" else (PAPER, "the paper's sizes")
    batch = make_batch(sizes, BATCH[device.type]).to(device)
    for name, student in STUDENTS.items():
        for precision in (FULL, HALF) if device.type != "cpu" else (FULL,):
            if device.type == "cuda":
                torch.cuda.reset_peak_memory_stats(device)
            learner = build_learner(student, sizes, device, precision)
            rate = _steps_per_second(learner, batch) * len(batch)
            what = f"{name}, {precision}, {of_recipe}, batch of {len(batch)}"
            yield Row(f"{what}: learning", rate, "key frames/s")
            yield Row(f"{what}: memory", _peak_gb(device), "GB")


def _steps_per_second(learner: Learner, batch: Batch) -> float:
    """Return the rate of steps after a first one."""
    learner.step(batch)
    _wait_for(learner.device)
    start, steps = time.perf_counter(), 0
    while time.perf_counter() - start < SECONDS:
        learner.step(batch)  # reads its loss, and so waits for the device
        steps += 1
    return steps / (time.perf_counter() - start)


def _wait_for(device: torch.device) -> None:
    """Wait until a device has done everything."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def _peak_gb(device: torch.device) -> float:
    """Return the peak of a GPU's memory, or the present memory of this process."""
    if device.type == "cuda":
        return float(torch.cuda.max_memory_allocated(device)) / 1e9
    return float(psutil.Process().memory_info().rss) / 1e9


def loading_rates() -> Iterator[Row]:
    """Measure how fast one process loads key frames of six images, and what all cores could feed.

    Images are read from their files and from an image cache.
    """
    with TemporaryDirectory() as folder:
        data, packed = Path(folder) / "data", Path(folder) / "images"
        _write(data)
        engine = EngineConfig(workers=0, device="cpu")
        cache_images(CacheConfig(data=data, out=packed, images=True, engine=engine))
        index = Index.open(DataConfig(root=data))
        for what, stored in (("loading", None), ("loading, image cache", ImageCache(packed))):
            key_frames = KeyFrames(index, ViewConfig(), Contents(points=True), grid=PAPER.grid, stored=stored)
            rate = _samples_per_second(key_frames)
            yield Row(f"{what}, in one process", rate, "key frames/s")
            yield Row(f"{what}, {usable_cores()} times that", rate * usable_cores(), "key frames/s")


def _samples_per_second(key_frames: KeyFrames) -> float:
    """Return the rate of loading after a first key frame."""
    _ = key_frames[0]
    start, count = time.perf_counter(), 0
    while time.perf_counter() - start < SECONDS / 2:
        _ = key_frames[count % len(key_frames)]
        count += 1
    return count / (time.perf_counter() - start)


def _write(root: Path) -> None:
    """Write a short drive of smooth pictures, whose JPEGs are as large as those of a street."""
    rig = make_rig(FRAME_PX, torch.Generator().manual_seed(0))
    names = [f"CAM_{number}" for number in range(len(rig.present))]
    lidar = np.eye(4)
    lidar[:3, 3] = LIDAR_M
    cameras = [
        CalibratedCamera(name, pose.double().numpy(), intrinsics.double().numpy())
        for name, pose, intrinsics in zip(names, rig.ego_from_camera, rig.intrinsics, strict=True)
    ]
    random = np.random.default_rng(0)
    picture = {name: CameraImage(_jpeg(random)) for name in names}
    points_ego = make_surfaces(torch.Generator().manual_seed(0)).numpy()
    sweep = LidarSweep((points_ego - np.array(LIDAR_M)).astype(np.float32))
    with NuScenesWriter(root, "v1.0-made") as writer:
        writer.add_scene("made", CalibratedRig("made", cameras, {"LIDAR_TOP": lidar}), split="train")
        for number in range(WRITTEN):
            pose = EgoPose(1_700_000_000_000_000 + 500_000 * number, np.eye(4))
            writer.add_key_frame(pose, picture, {"LIDAR_TOP": sweep})


def _jpeg(random: np.random.Generator) -> bytes:
    """Return a picture of coarse and fine structure as JPEG."""
    height, width = FRAME_PX
    coarse = cv2.resize(random.integers(0, 256, (30, 50, 3), dtype=np.uint8), (width, height))
    fine = random.integers(-8, 9, (height, width, 3))
    picture = np.clip(coarse + fine, 0, 255).astype(np.uint8)
    return bytes(cv2.imencode(".jpg", picture, [cv2.IMWRITE_JPEG_QUALITY, 75])[1])
