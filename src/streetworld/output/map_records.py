"""Records of nuScenes' map expansion, by layer.

Polygons and lines are lists of nodes in the town's frame, in metres.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
from jaxtyping import Float

from occfeat.data.formats.nuscenes.writer.rows import token
from streetworld.town.curves import thin

LAYERS = (
    "polygon",
    "line",
    "node",
    "drivable_area",
    "road_segment",
    "road_block",
    "lane",
    "ped_crossing",
    "walkway",
    "stop_line",
    "carpark_area",
    "road_divider",
    "lane_divider",
    "traffic_light",
    "lane_connector",
)
Record = dict[str, Any]


class MapRecords:
    """Collects records; a token names what a record is made of, so maps of equal towns are equal.

    Args:
        town: Name of the town.
    """

    def __init__(self, town: str) -> None:
        self.layers: dict[str, list[Record]] = {layer: [] for layer in LAYERS}
        self._town = town
        self._map_token = token("map", town)

    def token(self, *parts: object) -> str:
        """Return the token of the record that the parts name."""
        return token("map", self._town, *parts)

    def add(self, layer: str, name: tuple[object, ...], **fields: Any) -> str:
        """Put a record with a name into a layer; gives its token."""
        number = self.token(*name)
        self.layers[layer].append({"token": number, **fields})
        return number

    def polygon(
        self, points: Float[np.ndarray, "P 2"], holes: Sequence[Float[np.ndarray, "H 2"]] = ()
    ) -> str:
        """Add a polygon and return its token."""
        return self.add(
            "polygon",
            ("polygon", len(self.layers["polygon"])),
            exterior_node_tokens=self._nodes(points),
            holes=[{"node_tokens": self._nodes(hole)} for hole in holes],
        )

    def line(self, points: Float[np.ndarray, "P 2"]) -> str:
        """Add a line and return its token."""
        return self.add("line", ("line", len(self.layers["line"])), node_tokens=self._nodes(points))

    def _nodes(self, points: Float[np.ndarray, "P 2"]) -> list[str]:
        """Add nodes at given points; they are numbered, as there are too many to hash."""
        points = thin(points)
        start = len(self.layers["node"])
        tokens = [f"{self._map_token[:16]}{start + i:016x}" for i in range(len(points))]
        self.layers["node"] += [
            {"token": number, "x": x, "y": y}
            for number, (x, y) in zip(tokens, np.round(points, 4).tolist(), strict=True)
        ]
        return tokens
