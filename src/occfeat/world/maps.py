"""Maps of the towns: base maps as PNG, and nuScenes' map expansion 1.3 with all its layers."""

import io
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw

from occfeat.world.lots import plan_town
from occfeat.world.network import Network
from occfeat.world.tables import map_file
from occfeat.world.writer import write_bytes

BASE_MAP_PX_PER_M = 10
"""Resolution of nuScenes' base maps."""


def write_maps(out: Path, towns: list[int], seed: int) -> None:
    """Write the maps of some towns."""
    for town in towns:
        network = plan_town(town, seed).network
        write_bytes(out / map_file(town, seed), _base_map(network))


def _base_map(network: Network) -> bytes:
    """White where one may drive or walk, black elsewhere; the map's origin is the lower left corner."""
    width, height = (round(extent * BASE_MAP_PX_PER_M) for extent in network.size_m)
    image = Image.new("L", (width, height))
    draw = ImageDraw.Draw(image)

    def fill(points: np.ndarray) -> None:
        pixels = points * BASE_MAP_PX_PER_M
        draw.polygon([(float(x), float(height - y)) for x, y in pixels], fill=255)

    for road in network.roads:
        fill(np.concatenate((road.kerb(1).points, road.kerb(-1).points[::-1])))
    for junction in network.junctions:
        fill(junction.outline)
    buffer = io.BytesIO()
    image.save(buffer, format="PNG")
    return buffer.getvalue()
