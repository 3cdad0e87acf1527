"""Readers of what this package writes itself, and of what users give it: caches, runs, weights, settings."""

import json
from contextlib import closing
from pathlib import Path

import numpy as np
import timm
import torch
import yaml
from lightning_fabric import Fabric
from PIL import Image
from safetensors.torch import save_file
from torch import Tensor, nn

from occfeat.commands.deploy.predict import read_rig_file
from occfeat.commands.layers import base_layer
from occfeat.data.dataset import Draw
from occfeat.data.sample.sample import Batch, Sample
from occfeat.data.stored.images import ImageCache, ImageCacheCard, pack_images
from occfeat.data.stored.shards import shard_file
from occfeat.errors import KeyFrameError
from occfeat.geometry.grid import build_grid
from occfeat.machine.interrupt import StopRequest
from occfeat.models.students.build import build_student
from occfeat.models.weights.loading import load_checked, read_weights_file
from occfeat.models.weights.meta_format import is_meta_format, timm_from_meta
from occfeat.release.shipped import load_model, write_model
from occfeat.runs.card import ModelCard, read_card
from occfeat.runs.metrics_log import MetricsLog, last_row
from occfeat.runs.run import Run
from occfeat.runs.saved_settings import read_settings
from occfeat.segmentation.head import SegmentationHead
from occfeat.segmentation.task import Segmenter
from occfeat.settings.commands import CacheConfig, FinetuneConfig, PretrainConfig
from occfeat.settings.layers import build, build_partial
from occfeat.settings.sections import (
    NO_TEACHER,
    EngineConfig,
    GridConfig,
    OptimConfig,
    TeacherConfig,
    ViewConfig,
)
from occfeat.settings.students import SimpleBevConfig
from occfeat.teacher.cache import CacheCard, TeacherCache, encode
from occfeat.training.loading.order import Mix
from occfeat.training.loop import Job, Trainer
from occfeat.training.step import Step
from tests.bad_input.fuzzing.confined import Reader, Target
from tests.bad_input.fuzzing.mutation import spoil_bytes, spoil_header, spoil_json, spoil_member, spoil_yaml
from tests.support.rigs import ring_of_cameras


def cache(folder: Path) -> Reader:
    """A teacher cache of two shards: card and tensors."""
    settings = TeacherConfig(name="test_vit", image_size=(32, 48))
    card = CacheCard(
        teacher=settings,
        weights_sha256="0" * 64,
        channels=8,
        patches=(2, 3),
        cameras=("CAM_FRONT", "CAM_BACK"),
        data_fingerprint="f",
        split="train",
        key_frames=4,
        shard_size=2,
    )
    path = folder / "cache"
    path.mkdir()
    (path / "cache.json").write_text(json.dumps(card.model_dump(mode="json")))
    for number in range(2):
        maps = encode(torch.randn(2, 2, 8, 2, 3), "int8")
        rows = torch.arange(2) + 2 * number
        tensors = {"rows": rows, "values": maps.values.contiguous(), "scales": maps.scales.contiguous()}
        save_file(tensors, shard_file(path, number))

    def read(_: Path) -> None:
        opened = TeacherCache(path)
        both = (settings, NO_TEACHER)
        opened.require(np.arange(4), teachers=both, cameras=card.cameras, fingerprint="f", allowed=4)
        for row in range(4):
            try:
                opened.read(row).decode()
            except KeyFrameError:
                continue

    return Reader(
        [
            Target(path / "cache.json", (spoil_bytes, spoil_json)),
            Target(shard_file(path, 0), (spoil_bytes, spoil_header)),
            Target(shard_file(path, 1), (spoil_bytes, spoil_header)),
        ],
        read,
    )


def image_cache(folder: Path) -> Reader:
    """An image cache of two shards, as pixels or as JPEGs."""
    paths = {None: folder / "pixels", 90: folder / "jpegs"}
    cameras, sizes = ("CAM_FRONT", "CAM_BACK"), np.full((4, 2), 1234)
    random = torch.Generator().manual_seed(0)
    for quality, path in paths.items():
        path.mkdir()
        card = ImageCacheCard(
            size=(6, 8),
            quality=quality,
            cameras=cameras,
            data_fingerprint="f",
            split="train",
            key_frames=4,
            shard_size=2,
        )
        (path / "images.json").write_text(json.dumps(card.model_dump(mode="json")))
        for number in range(2):
            images = torch.randint(0, 256, (2, 2, 3, 6, 8), dtype=torch.uint8, generator=random)
            numbers = {"rows": torch.arange(2) + 2 * number, "file_bytes": torch.full((2, 2), 1234)}
            save_file(pack_images(images, quality) | numbers, shard_file(path, number))

    def read(file: Path) -> None:
        opened = ImageCache(file.parent)
        opened.require(np.arange(4), size=(6, 8), cameras=cameras, fingerprint="f", allowed=4)
        opened.require_same_files(np.arange(4), sizes, allowed=4)
        for row in range(4):
            try:
                torch.stack(list(opened.read(row))).sum()
            except KeyFrameError:
                continue

    targets = []
    for path in paths.values():
        targets.append(Target(path / "images.json", (spoil_bytes, spoil_json)))
        targets += [Target(shard_file(path, number), (spoil_bytes, spoil_header)) for number in range(2)]
    return Reader(targets, read)


class _Numbers:
    """Key frames of one small camera."""

    def read(self, draw: Draw) -> Sample:
        """Read a small sample."""
        rig = ring_of_cameras(1, (2, 2)).of_key_frame(0)
        return Sample(f"frame{draw.row}", torch.full((1, 3, 2, 2), draw.row, dtype=torch.uint8), rig)


class _Learner(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.net = nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4), nn.Linear(4, 1))

    def forward(self, batch: Batch, target: Tensor) -> Step:
        return Step((self.net(batch.images.float().mean((1, 3, 4)) / 255) - target).square().mean(), {})


def checkpoint(folder: Path) -> Reader:
    """A run that is resumed, two steps before its end."""
    path = folder / "run"
    optim = OptimConfig(epochs=3, batch_size=2)
    engine = EngineConfig(workers=0, log_every=1)
    fabric = Fabric(accelerator="cpu", devices=1)

    def job() -> Job[Tensor]:
        torch.manual_seed(0)
        return Job(
            _Learner(),
            lambda batch: torch.zeros(len(batch), 1),
            _Numbers(),
            Mix((np.arange(4),)),
            optim,
            engine,
        )

    with Run.create(path, "pretrain", engine, fingerprint="f") as run:
        trainer = Trainer(job(), run, fabric, resume=False)
        batches = trainer._batches()
        for _ in range(4):
            trainer._take_step(batches, StopRequest())
            trainer._log()
        trainer._save(StopRequest())
        trainer.metrics.close()
    metrics = run.folder.metrics.read_bytes()

    def read(_: Path) -> None:
        run.folder.metrics.write_bytes(metrics)
        Trainer(job(), run, fabric, resume=True).train()

    return Reader([Target(run.folder.checkpoint, (spoil_bytes, spoil_member, spoil_member))], read)


def weights(folder: Path) -> Reader:
    """Weights in both formats, and Meta's names."""
    network = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.Linear(4, 2))
    tensors = network.state_dict()
    plain, torch_file = folder / "w.safetensors", folder / "w.pth"
    save_file(tensors, plain)
    torch.save({"state_dict": tensors, "epoch": 3}, torch_file)
    transformer = timm.create_model("test_vit", pretrained=False, num_classes=0)
    meta_file, old_file = folder / "meta.pth", folder / "old.pth"
    torch.save({**transformer.state_dict(), "mask_token": torch.zeros(1, 64)}, meta_file)
    torch.save(tensors, old_file, _use_new_zipfile_serialization=False)

    def read(path: Path) -> None:
        found = read_weights_file(path)
        if is_meta_format(found):
            found = timm_from_meta(found, transformer.state_dict())
        load_checked(transformer if path == meta_file else network, found, "network")

    return Reader(
        [
            Target(plain, (spoil_bytes, spoil_header)),
            Target(torch_file, (spoil_bytes, spoil_member, spoil_member)),
            Target(meta_file, (spoil_bytes, spoil_member)),
            Target(old_file, (spoil_bytes,)),
        ],
        read,
    )


def model_card(folder: Path) -> Reader:
    """`model.json` of a fine-tuned network, up to the network that it describes."""
    grid = GridConfig(lower_m=(-8, -8, -1), upper_m=(8, 8, 3), cell_m=(1, 1, 1))
    student = SimpleBevConfig(
        backbone="test_efficientnet", backbone_weights="none", image_channels=8, bev_channels=8
    )
    card = ModelCard(
        stage="segmentation",
        student=student,
        grid=grid,
        view=ViewConfig(image_size=(32, 48)),
        classes=("vehicle",),
    )
    built = build_student(student, build_grid(grid))
    write_model(folder, Segmenter(built, SegmentationHead(built.channels, 1)), card)

    def read(_: Path) -> None:
        read_card(folder)
        load_model(folder)

    return Reader([Target(folder / "model.json", (spoil_bytes, spoil_json, spoil_json))], read)


def settings(folder: Path) -> Reader:
    """A user's settings file, below flags and in Python."""
    path = folder / "mine.yaml"
    mine = PretrainConfig(data=Path("/data"), out=Path("/out")).model_dump(mode="json")
    path.write_text(yaml.safe_dump(mine, sort_keys=False))

    def read(file: Path) -> None:
        for kind in (PretrainConfig, CacheConfig):
            layer = base_layer(kind, recipe="cpu-small", config=file)
            if kind is CacheConfig:
                layer = {name: value for name, value in layer.items() if name in kind.model_fields}
            build_partial(kind, layer, None)
            build(kind, layer)

    return Reader([Target(path, (spoil_bytes, spoil_yaml, spoil_yaml))], read)


def run_folder(folder: Path) -> Reader:
    """Settings and environment of a run that is resumed."""
    path = folder / "run"
    config = FinetuneConfig(data=Path("/data"), out=path)
    with (
        Run.create(path, "finetune", config, fingerprint="f") as run,
        closing(MetricsLog(run.folder.metrics)) as log,
    ):
        for step in range(3):
            log.write(step, {"loss": 1 / (step + 1), "iou": float("nan")})

    def read(_: Path) -> None:
        read_settings(path, FinetuneConfig)
        with Run.reopen(path, "finetune", "f") as run:
            last_row(run.folder.metrics)

    return Reader(
        [
            Target(path / "settings.yaml", (spoil_bytes, spoil_yaml)),
            Target(path / "environment.json", (spoil_bytes, spoil_json)),
            Target(path / "metrics.jsonl", (spoil_bytes,)),
        ],
        read,
    )


def rig_file(folder: Path) -> Reader:
    """A user's images with their calibration."""
    Image.new("RGB", (8, 6)).save(folder / "front.png")
    camera = {"image": "front.png", "intrinsics": np.eye(3).tolist(), "ego_from_camera": np.eye(4).tolist()}
    lens = {"model": "kannala_brandt", "coefficients": [0.1, -0.02, 0.003, 0]}
    path = folder / "rig.json"
    path.write_text(json.dumps({"cameras": [camera, {**camera, "name": "again", "lens": lens}]}))
    return Reader([Target(path, (spoil_bytes, spoil_json))], read_rig_file)
