"""Evaluate a segmenter: IoU pooled over a split, under every protocol."""

import json
import logging
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import torch
from lightning_fabric import Fabric
from numpy.typing import NDArray
from rich.console import Console
from rich.progress import track

from occfeat.atomic import write_text_atomic
from occfeat.data.dataset import KeyFrames
from occfeat.segmentation.metrics import BevIou
from occfeat.segmentation.task import Segmenter, labels_of
from occfeat.settings.sections import EngineConfig
from occfeat.training.device import autocast
from occfeat.training.loading import in_order, load_batches, require_few_broken
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
    threshold: float
    """Probability above which a cell counts as predicted, the same for every class."""
    metrics: dict[str, float]
    """IoU by name and protocol, 0 to 1, such as `vehicle_iou/visible` or `walkway_iou/map`."""

    def write(self, file: Path) -> None:
        """Write the metrics as JSON; NaN becomes null."""
        finite = {name: value if value == value else None for name, value in self.metrics.items()}
        text = json.dumps({**asdict(self), "metrics": finite}, indent=2) + "\n"
        write_text_atomic(file, text)


@torch.inference_mode()
def evaluate_segmenter(
    segmenter: Segmenter,
    classes: tuple[str, ...],
    key_frames: KeyFrames,
    rows: NDArray[np.int64],
    *,
    split: str,
    batch_size: int,
    engine: EngineConfig,
    fabric: Fabric,
) -> Evaluation:
    """Evaluate a segmenter on key frames with labels of the same classes.

    Several processes share the key frames and sum their counts. The metrics do not depend on their number.

    Raises:
        TrainingError: More key frames are broken than `engine.max_broken`.
    """
    device = fabric.device
    segmenter.to(device).eval()
    has_visibility = key_frames.index.source.taxonomy.has_visibility
    iou = BevIou(classes, has_visibility=has_visibility).to(device)
    batches = in_order(rows[fabric.global_rank :: fabric.world_size], batch_size)
    loader = load_batches(key_frames, batches, engine, pin=device.type == "cuda")
    broken = []
    shown = track(
        loader,
        f"evaluate on {split}",
        total=len(batches),
        console=Console(stderr=True),
        disable=not fabric.is_global_zero,
    )
    for loaded in shown:
        broken += [key_frame.message for key_frame in loaded.broken]
        require_few_broken(broken, len(broken), engine.max_broken)
        if loaded.batch is None:
            continue
        batch = loaded.batch.to(device, non_blocking=True)
        with autocast(device, engine.precision):
            logits = segmenter(batch.images, batch.cameras)
        iou.update(is_positive(logits), labels_of(batch))
    everywhere = fabric.all_reduce(torch.tensor(len(broken), device=device), reduce_op="sum")
    skipped = int(torch.as_tensor(everywhere))
    return Evaluation(split, len(rows) - skipped, skipped, THRESHOLD, iou.compute())
