"""Draws the data flow of the architecture page. Imports nothing of the packages; a test compares their names.

Run by every build of the documentation. By hand: `python docs/scripts/draw_architecture.py FOLDER`.
"""

import sys
from pathlib import Path
from typing import NamedTuple

import matplotlib
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import FancyArrowPatch, FancyBboxPatch

WIDTH, HEIGHT = 1.85, 0.78
"""Size of a box."""
PLAIN, LEARNS, ONCE, SHIPS = "#F4F4F4", "#D6E8F5", "#FBE9C6", "#DCEFE4"
"""Colours of boxes: data, what learns, what pretraining alone needs, what is written."""
GRAY = "#444444"


class Box(NamedTuple):
    """A stage of the data flow."""

    x: float
    y: float
    name: str
    package: str
    """Dotted name of the package that does it."""
    color: str


BOXES = {
    "source": Box(0.0, 4.2, "data source", "occfeat.data.formats.nuscenes", PLAIN),
    "index": Box(2.6, 4.2, "index", "occfeat.data.index", PLAIN),
    "sample": Box(5.2, 4.2, "sample", "occfeat.data", PLAIN),
    "batch": Box(7.8, 4.2, "batch", "occfeat.training", PLAIN),
    "encoder": Box(0.0, 2.7, "image encoder", "occfeat.models.encoders", LEARNS),
    "lifting": Box(2.6, 2.7, "lifting", "occfeat.models.lifting", LEARNS),
    "student": Box(5.2, 2.7, "BEV features", "occfeat.models.students", LEARNS),
    "teacher": Box(7.8, 2.7, "teacher", "occfeat.teacher", ONCE),
    "segmentation": Box(2.6, 1.2, "segmentation", "occfeat.segmentation", LEARNS),
    "pretraining": Box(5.2, 1.2, "head, losses", "occfeat.pretraining", LEARNS),
    "targets": Box(7.8, 1.2, "targets", "occfeat.pretraining", ONCE),
    "release": Box(0.0, -0.3, "released model", "occfeat.release", SHIPS),
    "run": Box(3.9, -0.3, "run folder", "occfeat.runs", SHIPS),
    "report": Box(7.8, -0.3, "pictures, pages", "occfeat.report", SHIPS),
}
RIGHT, LEFT, DOWN = "right", "left", "down"
ARROWS = (
    ("source", "index", RIGHT, "tables"),
    ("index", "sample", RIGHT, "key frame"),
    ("sample", "batch", RIGHT, "collate"),
    ("encoder", "lifting", RIGHT, "features"),
    ("lifting", "student", RIGHT, "voxels"),
    ("student", "pretraining", DOWN, ""),
    ("student", "segmentation", DOWN, ""),
    ("teacher", "targets", DOWN, "features"),
    ("targets", "pretraining", LEFT, ""),
    ("segmentation", "run", DOWN, ""),
    ("pretraining", "run", DOWN, ""),
    ("run", "release", LEFT, ""),
    ("run", "report", RIGHT, ""),
)


def side(box: Box, direction: str, *, out: bool) -> tuple[float, float]:
    """Return the middle of the side where an arrow of this direction leaves or enters a box."""
    sign = 1 if out else -1
    dx, dy = {RIGHT: (sign, 0), LEFT: (-sign, 0), DOWN: (0, -sign)}[direction]
    return box.x + dx * (WIDTH / 2 + 0.06), box.y + dy * (HEIGHT / 2 + 0.06)


def draw_arrow(axes: Axes, start: tuple[float, float], end: tuple[float, float], label: str = "") -> None:
    """Draw an arrow, with what it carries beside it."""
    style = {"arrowstyle": "-|>", "color": GRAY, "mutation_scale": 12, "shrinkA": 0, "shrinkB": 0}
    axes.add_patch(FancyArrowPatch(start, end, linewidth=1.2, **style))
    level = start[1] == end[1]
    u, v = (start[0] + end[0]) / 2 + 0.1 * (not level), (start[1] + end[1]) / 2 + 0.14 * level
    axes.text(u, v, label, ha="center" if level else "left", va="center", fontsize=8, color=GRAY)


def draw_long(axes: Axes) -> None:
    """Draw the arrows from a batch to everything that reads it, along a rail between two rows."""
    batch, rail = BOXES["batch"], 3.47
    axes.plot([BOXES["encoder"].x, 9.15], [rail, rail], color=GRAY, linewidth=1.2)
    axes.plot([batch.x, batch.x], [side(batch, DOWN, out=True)[1], rail], color=GRAY, linewidth=1.2)
    axes.text(1.3, rail + 0.13, "images, calibration", ha="center", fontsize=8, color=GRAY)
    for name in ("encoder", "teacher"):
        u, v = side(BOXES[name], DOWN, out=False)
        draw_arrow(axes, (u, rail), (u, v))
    axes.plot([9.15, 9.15], [rail, 1.2], color=GRAY, linewidth=1.2)
    axes.text(9.22, 2.0, "LiDAR\nreturns", va="center", fontsize=8, color=GRAY)
    draw_arrow(axes, (9.15, 1.2), (BOXES["targets"].x + WIDTH / 2 + 0.06, 1.2))
    axes.plot([-1.15, 0.0], [rail, rail], color=GRAY, linewidth=1.2)
    axes.plot([-1.15, -1.15], [rail, 1.2], color=GRAY, linewidth=1.2)
    draw_arrow(axes, (-1.15, 1.2), (BOXES["segmentation"].x - WIDTH / 2 - 0.06, 1.2), "labels: boxes, maps")


def draw_data_flow() -> Figure:
    """Draw every stage with its package, from a data source to a released model."""
    figure = Figure(figsize=(9.6, 5.3), layout="constrained")
    axes = figure.add_subplot()
    axes.set(xlim=(-1.3, 9.9), ylim=(-0.85, 4.75), aspect="equal")
    axes.set_axis_off()
    for box in BOXES.values():
        corner = (box.x - WIDTH / 2, box.y - HEIGHT / 2)
        axes.add_patch(
            FancyBboxPatch(corner, WIDTH, HEIGHT, boxstyle="round,pad=0.05", fc=box.color, ec="gray")
        )
        axes.text(box.x, box.y + 0.15, box.name, ha="center", va="center", fontsize=10, weight="bold")
        short = box.package.removeprefix("occfeat.")
        axes.text(box.x, box.y - 0.19, short, ha="center", va="center", fontsize=8, family="monospace")
    for start, end, direction, label in ARROWS:
        draw_arrow(
            axes, side(BOXES[start], direction, out=True), side(BOXES[end], direction, out=False), label
        )
    draw_long(axes)
    return figure


def main(folder: Path) -> None:
    """Write the picture as an SVG file, the same bytes from every build."""
    folder.mkdir(parents=True, exist_ok=True)
    with matplotlib.rc_context({"svg.fonttype": "none", "svg.hashsalt": "occfeat", "font.size": 9}):
        draw_data_flow().savefig(folder / "data_flow.svg", metadata={"Date": None})


if __name__ == "__main__":
    main(Path(sys.argv[1]))
