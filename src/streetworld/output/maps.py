"""Maps of the towns: base maps as PNG (white where one may drive, black elsewhere) and map expansions."""

from collections.abc import Iterable
from pathlib import Path

import cv2
import numpy as np
import orjson
from jaxtyping import Float
from PIL import Image, ImageDraw

from occfeat.machine.atomic import write_bytes_atomic
from streetworld.output.expansion import expand_map
from streetworld.output.scene_files import map_file
from streetworld.town.lots import TownRequest, plan_town
from streetworld.town.network import Network

BASE_MAP_PX_PER_M = 10
"""Resolution of nuScenes' base maps."""


def write_maps(out: Path, towns: Iterable[TownRequest]) -> None:
    """Write the maps of towns, one after another: that of a large town takes gigabytes of memory."""
    for town in towns:
        write_map(out, town)


def write_map(out: Path, town: TownRequest) -> None:
    """Write base map and map expansion of a town."""
    plan = plan_town(town)
    write_bytes_atomic(out / map_file(town), _base_map(plan.network))
    expansion = orjson.dumps(expand_map(plan))
    write_bytes_atomic(out / "maps" / "expansion" / f"{plan.network.town.name}.json", expansion)


def _base_map(network: Network) -> bytes:
    """Draw a base map as PNG; its origin is its lower left corner."""
    width, height = (round(extent * BASE_MAP_PX_PER_M) for extent in network.size_m)
    grey = np.zeros((height, width), dtype=np.uint8)
    image = Image.frombuffer("L", (width, height), grey, "raw", "L", 0, 1)
    image.readonly = 0  # it is drawn into the array: to copy it would take longer than to draw
    draw = ImageDraw.Draw(image)

    def fill(points: Float[np.ndarray, "P 2"], value: int) -> None:
        """Fill a polygon, given in metres, with a grey level."""
        pixels = points * BASE_MAP_PX_PER_M
        draw.polygon([(float(x), float(height - y)) for x, y in pixels], fill=value)

    for road in network.roads:
        fill(road.outline, 255)
        if road.median is not None:
            fill(road.median, 0)
    for junction in network.junctions:
        fill(junction.outline, 255)
    # Long runs of equal pixels: to try all filters on each row, as Pillow does, takes three times as long.
    plain = (
        cv2.IMWRITE_PNG_STRATEGY,
        cv2.IMWRITE_PNG_STRATEGY_RLE,
        cv2.IMWRITE_PNG_FILTER,
        cv2.IMWRITE_PNG_FILTER_NONE,
    )
    return cv2.imencode(".png", grey, plain)[1].tobytes()
