"""Evaluate a segmenter: IoU pooled over a split, under every protocol."""

import json
import logging
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import torch
from lightning_fabric import Fabric
from numpy.typing import NDArray
from rich.console import Console
from rich.progress import track

from occfeat.machine.atomic import write_text_atomic
from occfeat.segmentation.metrics import BevIou, known_metrics
from occfeat.segmentation.task import Segmenter, labels_of
from occfeat.settings.sections import EngineConfig
from occfeat.training.device import autocast
from occfeat.training.loading.loaders import KeyFrameReader, LeftOut, Loaded, in_order, load_batches
from occfeat.training.overlap import THRESHOLD, is_positive

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Evaluation:
    """Metrics of one split."""

    split: str
    key_frames: int
    """Number of key frames that were evaluated."""
    broken: int
    """Number of key frames that could not be read."""
    incomplete: int
    """Number of key frames that were evaluated without some camera, because its image could not be read."""
    threshold: float
    """Probability above which a cell counts as predicted, the same for every class."""
    metrics: dict[str, float]
    """IoU by name and protocol, 0 to 1, such as `vehicle_iou/visible` or `walkway_iou/map`; that of one of
    several data sets begins with its name, as in `boston/vehicle_iou/visible`."""

    def write(self, file: Path) -> None:
        """Write the metrics as JSON; NaN becomes null."""
        text = json.dumps({**asdict(self), "metrics": known_metrics(self.metrics)}, indent=2) + "\n"
        write_text_atomic(file, text)


@torch.inference_mode()
def evaluate_segmenter(
    segmenter: Segmenter,
    classes: tuple[str, ...],
    key_frames: KeyFrameReader,
    rows: NDArray[np.int64],
    *,
    has_visibility: Mapping[str, bool],
    motion: bool = False,
    split: str,
    batch_size: int,
    engine: EngineConfig,
    fabric: Fabric,
) -> Evaluation:
    """Evaluate a segmenter on key frames with labels of the same classes.

    Several processes share the key frames and sum their counts. The metrics do not depend on their number.
    Metrics are pooled over all key frames; with several data sets, they are also given for each.

    Args:
        segmenter: The network.
        classes: Classes of its outputs.
        key_frames: Where key frames are read.
        rows: Which ones.
        has_visibility: Whether boxes have levels of visibility: by the names of several data sets, and by the
            empty name for all of them together.
        motion: Whether labels say which objects move, and these are reported apart.
        split: Name of the split.
        batch_size: Key frames per batch.
        engine: Loading and precision.
        fabric: Devices and processes.

    Raises:
        TrainingError: More key frames are broken or lack images than `engine` allows.
    """
    device = fabric.device
    segmenter.to(device).eval()
    iou = {
        name: BevIou(classes, has_visibility=levels, motion=motion).to(device)
        for name, levels in has_visibility.items()
    }
    batches = in_order(rows[fabric.global_rank :: fabric.world_size], batch_size)
    loader = load_batches(key_frames, batches, engine, pin=device.type == "cuda")
    left_out = LeftOut(engine, [len(rows)])
    for loaded in _shown(loader, split, len(batches), hidden=not fabric.is_global_zero):
        left_out.add(loaded)
        if loaded.batch is None:
            continue
        batch = loaded.batch.to(device, non_blocking=True)
        with autocast(device, engine.precision):
            logits = segmenter(batch.images, batch.cameras)
        predicted, labels = is_positive(logits), labels_of(batch)
        iou[""].update(predicted, labels)
        for name, chosen in batch.by_data_set().items():
            iou[name].update(predicted[chosen], labels.of_key_frames(chosen))
    skipped, incomplete = left_out.over_all(fabric)
    return Evaluation(split, len(rows) - skipped, skipped, incomplete, THRESHOLD, _metrics(iou))


def _metrics(iou: Mapping[str, BevIou]) -> dict[str, float]:
    """Return the metrics by name; those of one of several data sets begin with its name."""
    return {
        f"{name}/{metric}" if name else metric: value
        for name, of_set in iou.items()
        for metric, value in of_set.compute().items()
    }


def _shown(loader: Iterator[Loaded], split: str, count: int, *, hidden: bool) -> Iterable[Loaded]:
    """Show the progress of batches, unless another process does."""
    console = Console(stderr=True)
    return track(loader, f"evaluate on {split}", total=count, console=console, disable=hidden)
