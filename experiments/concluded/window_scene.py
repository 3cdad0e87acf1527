"""Windows of sweeps of a real scene: how much they add, and where rays conflict.

    PYTHONPATH=experiments python -m concluded.window_scene DATA [--window-s 0.5] [--picture FILE --row 20]

Counts voxels over all key frames, and conflicts inside boxes that move faster than 1 m/s, inside other
boxes and outside. Boxes, with their speeds from the tables, are used for this check alone. The picture shows,
from above, the occupied voxels of the key frame's own sweep, those of the window, and those of the window
without the rule for conflicts, with the boxes: red where they move.
"""

import argparse
import json
from collections import defaultdict
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Bool, Float
from PIL import Image, ImageDraw
from torch import Tensor

from occfeat.data.augment import draw_change
from occfeat.data.index.index import Index
from occfeat.data.keyframe import Boxes
from occfeat.data.sample.contents import WindowRequest
from occfeat.data.sample.lidar import Window
from occfeat.data.sweeps.window import WindowReader
from occfeat.geometry.grid import VoxelGrid, build_grid
from occfeat.settings.sections import Conflicts, DataConfig, GridConfig, ViewConfig

MOVES_MPS = 1.0
MARGIN_M = 0.3
"""Boxes are grown by this much on every side: voxels at their surface belong to them."""
GRID = build_grid(GridConfig())


def speeds_of(folder: Path) -> dict[str, float]:
    """Return the speed of each annotation in m/s, from its neighbours in time."""
    annotations = json.loads((folder / "sample_annotation.json").read_text(encoding="utf-8"))
    samples = json.loads((folder / "sample.json").read_text(encoding="utf-8"))
    time_s = {sample["token"]: sample["timestamp"] / 1e6 for sample in samples}
    tracks = defaultdict(list)
    for one in annotations:
        tracks[one["instance_token"]].append((time_s[one["sample_token"]], one["translation"], one["token"]))
    speeds = {}
    for track in tracks.values():
        track.sort()
        for number, (_, _, token) in enumerate(track):
            before, after = track[max(number - 1, 0)], track[min(number + 1, len(track) - 1)]
            apart_s = after[0] - before[0]
            way_m = np.linalg.norm(np.subtract(after[1], before[1]))
            speeds[token] = float(way_m / apart_s) if apart_s else 0.0
    return speeds


def inside(
    boxes: Boxes, chosen: Bool[Tensor, " n"], centers: Float[Tensor, "X Y Z 3"]
) -> Bool[Tensor, "X Y Z"]:
    """Return the voxels whose centre lies in one of the chosen boxes."""
    found = torch.zeros(centers.shape[:3], dtype=torch.bool)
    reach = torch.tensor(GRID.cell_m) / 2 + MARGIN_M
    for number in chosen.nonzero()[:, 0].tolist():
        local = (centers - boxes.center_ego[number].float()) @ boxes.ego_from_box[number].float()
        found |= (local.abs() <= boxes.size_m[number].float() / 2 + reach).all(dim=-1)
    return found


def read(index: Index, row: int, window_s: float, conflicts: Conflicts) -> Window:
    """Return the window of a key frame without augmentation."""
    same = draw_change(None, 0, seed=0, epoch=0, row=row)
    return WindowReader(index, ViewConfig(), GRID, same).read(row, WindowRequest(window_s, conflicts))


def counts_of(index: Index, row: int, window_s: float, speeds: dict[str, float]) -> dict[str, float]:
    """Return the numbers of one key frame."""
    arms: dict[str, tuple[float, Conflicts]] = {
        "single": (0.0, "key-sweep"),
        "window": (window_s, "key-sweep"),
        "no rule": (window_s, "ignore"),
    }
    boxes = index.key_frame(row).boxes
    moves = torch.tensor([speeds[token] > MOVES_MPS for token in boxes.tokens], dtype=torch.bool)
    centers = GRID.centers()
    moving, standing = inside(boxes, moves, centers), inside(boxes, ~moves, centers)
    places = {"moving boxes": moving, "other boxes": standing & ~moving, "outside": ~(moving | standing)}
    counts: dict[str, float] = {}
    for arm, (length_s, rule) in arms.items():
        window = read(index, row, length_s, rule)
        counts[f"{arm}: sweeps"] = int(window.sweeps)
        counts[f"{arm}: known, thousands"] = int(window.known.sum()) / 1000
        for place, mask in places.items():
            counts[f"{arm}: occupied, {place}"] = int((window.occupied & mask).sum())
            if arm == "window":
                conflicts = int((window.in_conflict & mask).sum())
                hit = int(((window.in_conflict | window.occupied) & mask).sum())
                counts[f"conflicts, {place}"] = conflicts
                counts[f"conflicts, % of hit voxels, {place}"] = 100 * conflicts / max(hit, 1)
    return counts


def draw(index: Index, row: int, window_s: float, speeds: dict[str, float], file: Path) -> None:
    """Draw occupied voxels from above: a single sweep, the window, the window without its rule."""
    boxes, side = index.key_frame(row).boxes, 4
    panels = []
    for length_s, conflicts in ((0.0, "key-sweep"), (window_s, "key-sweep"), (window_s, "ignore")):
        window = read(index, row, length_s, conflicts)
        above = window.occupied[:, :, 3:].any(dim=2).numpy()  # from 0.75 m below the ground's plane upwards
        high = window.occupied[:, :, 4:].any(dim=2).numpy()
        known = window.known.any(dim=2).numpy()
        image = np.full((*above.shape, 3), 20, dtype=np.uint8)
        image[known], image[above], image[high] = 60, (90, 120, 150), 255
        picture = Image.fromarray(image[::-1, ::-1].repeat(side, 0).repeat(side, 1))
        _outline(picture, boxes, speeds, GRID, side)
        panels.append(np.asarray(picture))
    Image.fromarray(np.concatenate(panels, axis=1)).save(file)


def _outline(
    picture: Image.Image, boxes: Boxes, speeds: dict[str, float], grid: VoxelGrid, side: int
) -> None:
    """Draw the footprints of boxes; forward is up, left is left."""
    pen = ImageDraw.Draw(picture)
    for number, corners in enumerate(boxes.footprint_ego().tolist()):
        color = (255, 60, 60) if speeds[boxes.tokens[number]] > MOVES_MPS else (60, 200, 60)
        points = [
            ((grid.upper_m[1] - y) / grid.cell_m[1] * side, (grid.upper_m[0] - x) / grid.cell_m[0] * side)
            for x, y in corners
        ]
        pen.polygon(points, outline=color)


def main() -> None:
    """Print the mean counts per key frame, with the smallest and the largest."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("data", type=Path)
    parser.add_argument("--window-s", type=float, default=0.5)
    parser.add_argument("--picture", type=Path)
    parser.add_argument("--row", type=int, default=20)
    given = parser.parse_args()
    torch.set_num_threads(1)
    index = Index.open(DataConfig(root=given.data))
    speeds = speeds_of(index.source.folder)
    if given.picture:
        draw(index, given.row, given.window_s, speeds, given.picture)
    rows = [counts_of(index, row, given.window_s, speeds) for row in range(len(index))]
    print("| per key frame | mean | smallest | largest |\n|---|---|---|---|")
    for name in rows[0]:
        values = [row[name] for row in rows]
        print(f"| {name} | {np.mean(values):.4g} | {min(values):.4g} | {max(values):.4g} |")


if __name__ == "__main__":
    main()
