"""Map expansions and base maps made on the spot, for tests that need no real ones."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

AREAS = ("drivable_area", "ped_crossing", "walkway", "stop_line", "carpark_area")
LINES = ("road_divider", "lane_divider")

Points = Sequence[tuple[float, float]]


def rectangle(x: float, y: float, length: float, width: float) -> list[tuple[float, float]]:
    """Corners of a rectangle along the axes, its lower left one first."""
    return [(x, y), (x + length, y), (x + length, y + width), (x, y + width)]


def make_expansion(**layers: Sequence[Sequence[Points]]) -> dict[str, Any]:
    """An expansion of version 1.3: each area is an outline and its holes, each line one list of points."""
    document: dict[str, Any] = {"version": "1.3", "canvas_edge": [2000.0, 1000.0]}
    document |= {name: [] for name in ("node", "polygon", "line", *AREAS, *LINES)}

    def nodes(points: Points) -> list[str]:
        first = len(document["node"])
        tokens = [f"node {first + i}" for i in range(len(points))]
        records = zip(tokens, points, strict=True)
        document["node"] += [{"token": token, "x": x, "y": y} for token, (x, y) in records]
        return tokens

    for layer, shapes in layers.items():
        for i, rings in enumerate(shapes):
            token = f"{layer} {i}"
            if layer in LINES:
                document["line"].append({"token": token, "node_tokens": nodes(rings[0])})
                document[layer].append({"token": token, "line_token": token})
                continue
            holes = [{"node_tokens": nodes(hole)} for hole in rings[1:]]
            outline = nodes(rings[0])
            document["polygon"].append({"token": token, "exterior_node_tokens": outline, "holes": holes})
            field = {"polygon_tokens": [token]} if layer == "drivable_area" else {"polygon_token": token}
            document[layer].append({"token": token, **field})
    return document


def write_expansion(root: Path, document: object, location: str = "singapore-onenorth") -> Path:
    """Write an expansion to where a data folder has it."""
    path = root / "maps" / "expansion" / f"{location}.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(document))
    return path


def crossroads(x: float, y: float) -> dict[str, Any]:
    """Every layer around a place: a crossing of two roads with a traffic island, walkways and so on."""
    along, across = rectangle(x - 60, y - 6, 120, 12), rectangle(x - 5, y - 60, 10, 120)
    return make_expansion(
        drivable_area=[[along, rectangle(x + 12, y - 1, 6, 2)], [across]],
        ped_crossing=[[rectangle(x + 6, y - 6, 3, 12)]],
        walkway=[[rectangle(x - 60, y + 7, 50, 3)], [rectangle(x + 8, y - 10, 50, 3)]],
        stop_line=[[rectangle(x + 10, y - 6, 1.5, 6)]],
        carpark_area=[[rectangle(x - 14, y - 16, 8, 8)]],
        road_divider=[[[(x - 60, y), (x - 6, y)]]],
        lane_divider=[[[(x + 6, y + 3), (x + 30, y + 3), (x + 60, y + 4)]]],
    )


def write_base_map(path: Path, white: np.ndarray, mode: str = "L") -> Path:
    """A base map whose rows go down, as a picture's do."""
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(white.astype(np.uint8) * 255).convert(mode).save(path)
    return path
