"""Pictures of predictions for key frames of a data set."""

from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from occfeat.data.dataset import Draw, KeyFrames
from occfeat.data.sample.sample import Sample, collate
from occfeat.report.pictures.plots import draw_prediction
from occfeat.segmentation.task import Segmenter


@torch.inference_mode()
def draw_predictions(
    folder: Path, segmenter: Segmenter, key_frames: KeyFrames, rows: NDArray[np.int64]
) -> list[Path]:
    """Draw images, true and predicted BEV of each key frame, one picture per class; skip broken ones.

    Args:
        folder: Folder of the pictures, which are named after key frame and class.
        segmenter: The network, on any device.
        key_frames: With labels of the classes the network segments.
        rows: Key frames to draw.

    Returns:
        The pictures that were written.
    """
    segmenter.eval()
    device = next(segmenter.parameters()).device
    written = []
    for row in rows:
        sample = key_frames.read(Draw(int(row), 0))
        if not isinstance(sample, Sample) or sample.labels is None:
            continue
        batch = collate([sample]).to(device)
        probability = segmenter(batch.images, batch.cameras)[0].float().sigmoid().cpu()
        for index, name in enumerate(sample.labels.classes):
            written.append(folder / f"{sample.token}_{name}.png")
            draw_prediction(
                written[-1],
                sample.images,
                sample.cameras,
                key_frames.channels,
                probability[index],
                key_frames.grid.bev,
                target=sample.labels.target[index],
                low_visibility=sample.labels.low_visibility[index],
                class_name=name,
                title=sample.token,
            )
    return written
