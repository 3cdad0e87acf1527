"""`occfeat evaluate`: IoU of a fine-tuned network, pooled over a split, under every protocol."""

import numpy as np
from torch import nn

from occfeat.card import read_card, run_folder
from occfeat.commands.config import EvaluateConfig
from occfeat.commands.outcome import RunOutcome, table
from occfeat.commands.pictures import draw_predictions
from occfeat.data.check import quick_check
from occfeat.data.dataset import KeyFrames
from occfeat.data.index import Index
from occfeat.data.maps import require_maps
from occfeat.engine.device import build_fabric
from occfeat.engine.evaluation import evaluate_segmenter
from occfeat.engine.export import build_grid, load_model
from occfeat.engine.run import require_empty

PICTURES = 4
"""Key frames drawn beside the figures, spread evenly over the split."""


def evaluate(config: EvaluateConfig, student: nn.Module | None = None) -> RunOutcome:
    """Evaluate a fine-tuning run and write `results.json` and pictures.

    Args:
        config: The settings.
        student: The user's module, for a run that trained one.

    Raises:
        OccFeatError: The run, the data or the output folder cannot be used.
    """
    run = run_folder(config.run)
    card = read_card(run)
    out = config.out or run / f"evaluation-{config.split}"
    require_empty(out, hint="Choose another --out.")
    fabric = build_fabric(config.engine)
    model = load_model(run, fabric.device, student)
    index = Index.open(config.source)
    rows = index.rows(config.split)
    quick_check(index, rows, view=card.view, needs_lidar=False, allowed=config.engine.max_broken)
    require_maps(index, rows, card.classes)
    key_frames = KeyFrames(index, card.view, grid=build_grid(card.grid), augment=None, classes=card.classes)
    evaluation = evaluate_segmenter(
        model.segmenter,
        card.classes,
        key_frames,
        rows,
        split=config.split,
        batch_size=config.batch_size,
        engine=config.engine,
        fabric=fabric,
    )
    if not fabric.is_global_zero:
        return RunOutcome("", path=out, metrics=evaluation.metrics)
    evaluation.write(out / "results.json")
    shown = np.unique(np.linspace(0, len(rows) - 1, PICTURES).astype(np.int64))
    draw_predictions(out, model.segmenter, key_frames, rows[shown])
    counted = (
        f"{evaluation.key_frames} key frames of {config.split}, {evaluation.broken} broken, threshold 0.5"
    )
    text = f"{counted}\n{table(evaluation.metrics)}\n{out / 'results.json'}"
    return RunOutcome(text, path=out, metrics=evaluation.metrics)
