"""The page at the end of `occfeat demo`: metrics, and pictures of every stage."""

from pathlib import Path

import torch

from occfeat.data.dataset import KeyFrames
from occfeat.data.index.index import Index
from occfeat.data.sample import collate
from occfeat.data.subsets import spread
from occfeat.geometry.grid import build_grid
from occfeat.release.model import BevModel
from occfeat.release.shipped import load_model
from occfeat.report.page.page import Picture, Section, Table, write_page
from occfeat.report.pictures.comparison import Compared, draw_comparison
from occfeat.runs.card import read_card
from occfeat.settings.sections import DataConfig

TITLES = {"none": "from ImageNet weights", "occfeat": "from OccFeat weights"}
"""What is compared: names in the summary, and what a person reads."""
SHOWN = 2
"""Key frames that are compared in the picture."""


def write_demo_page(out: Path, split: str, arms: dict[str, dict[str, float]], draws: int) -> None:
    """Draw the comparison and write `index.html`.

    Args:
        out: Folder of the demo, with all its runs finished.
        split: Key frames both fine-tunings were evaluated on.
        arms: Mean metrics of each, by name.
        draws: Draws of labels they are averaged over; the pictures show the first.
    """
    _draw(out, split)
    tokens = (out / "none-0" / "label_tokens.txt").read_text().split()
    names = sorted(arms["none"])
    rows = [[TITLES[arm], *(f"{arms[arm][name]:.3f}" for name in names)] for arm in TITLES]
    rows.append(["gain", *(f"{arms['occfeat'][name] - arms['none'][name]:+.3f}" for name in names)])
    pictures = {
        "comparison.png": "The unseen town: truth, and what each network predicts",
        "pretrained/pictures/occupancy.png": (
            "What pretraining predicts: where the LiDAR hits, and what the teacher sees there"
        ),
        "calibration.png": "A key frame of the world: LiDAR and boxes on the images",
        "pretrained/pictures/curves.png": "Pretraining, step by step",
        "none-0/pictures/curves.png": f"Fine-tuning {TITLES['none']}",
        "occfeat-0/pictures/curves.png": f"Fine-tuning {TITLES['occfeat']}",
    }
    words = (
        f"Vehicles in bird's-eye view, learned from {len(tokens)} labelled key frames and evaluated in a "
        "town that neither network has seen. One starts from ImageNet weights; the other was first "
        "pretrained on the unlabelled drives, to predict the LiDAR's occupancy and a teacher's features; "
        "what it learned there changes at a tenth of the rate. "
        f"Metrics are means over {draws} draws of the labelled key frames."
    )
    results = Section("IoU", [], [Table(["fine-tuned", *names], rows)])
    shown = Section("Pictures", [], [Picture(file, caption) for file, caption in pictures.items()])
    write_page(out / "index.html", "OccFeat on a street world", [words], [results, shown])


def _draw(out: Path, split: str) -> None:
    models: dict[str, BevModel] = {TITLES[arm]: load_model(out / f"{arm}-0") for arm in TITLES}
    card = read_card(out / "none-0")
    index = Index.open(DataConfig(root=out / "street"))
    grid = build_grid(card.grid)
    key_frames = KeyFrames(index, card.view, grid=grid, augment=None, points=True, classes=card.classes)
    rows = index.rows(split)
    between = spread(rows, SHOWN + 2)[1:-1]
    chosen = between if len(between) else rows
    compared = [_compare(key_frames, int(row), models) for row in chosen]
    draw_comparison(out / "comparison.png", compared, grid.bev)


@torch.inference_mode()
def _compare(key_frames: KeyFrames, row: int, models: dict[str, BevModel]) -> Compared:
    sample = key_frames.sample(row)
    batch = collate([sample])
    probabilities = {name: model(batch.images, batch.cameras)[0, 0] for name, model in models.items()}
    return Compared(sample, key_frames.channels, probabilities)
