"""Read nuScenes' map expansion, version 1.3, as shapes.

Axes: `n` nodes. Positions are 2-D, in the global frame, in metres.
"""

from collections.abc import Callable
from functools import lru_cache
from itertools import chain, repeat
from pathlib import Path
from typing import Any

import numpy as np
import shapely
from jaxtyping import Int64
from numpy import ndarray

from occfeat.data.maps.json_file import MapFormat
from occfeat.data.maps.masks import AREAS, ShapeMap
from occfeat.data.source.tables import FARTHEST_M

VERSION = "1.3"
"""The only supported version; earlier ones have other layers."""

LINES = ("road_divider", "lane_divider")
"""Layers of lines that form the layer `divider` (as in BEVFusion)."""

FORMAT = MapFormat(
    "Map expansion",
    f"Extract the map expansion, version {VERSION}, again; download it from nuscenes.org.",
    1_000_000_000,
)
"""How a map is read; nuScenes' have up to 60 MB."""

Record = dict[str, Any]


@lru_cache(maxsize=16)
def read_expansion(path: Path) -> ShapeMap:
    """Read the layers of a map and cache them for the rest of the process.

    As in the devkit, areas that cross themselves are skipped, except drivable ones, which are repaired.
    Shapes with too few nodes are skipped, too.

    Raises:
        DatasetError: The file cannot be read, is not JSON, has another version, or has a record that is
        incomplete, names an unknown record or has an impossible position.
    """
    reader = _Reader(path, _parse(path))
    layers = {name: shapely.STRtree(reader.areas(name)) for name in AREAS}
    return ShapeMap({**layers, "divider": shapely.STRtree(reader.lines(LINES))})


def _parse(path: Path) -> Record:
    """Return the content of a file of the known version, by layer."""
    document = FORMAT.read(path)
    if (version := document.get("version", "1.0")) != VERSION:
        raise FORMAT.damaged(path, f"has version {version}; expected version {VERSION}")
    return document


class _Reader:
    """Builds shapes from the records of one file."""

    def __init__(self, path: Path, document: Record) -> None:
        self._path, self._document = path, document
        nodes = self._records("node")
        tokens = self._fields(nodes, "node", "token", str)
        points = [self._fields(nodes, "node", axis, float, int) for axis in ("x", "y")]
        self._node = dict(zip(tokens, range(len(tokens)), strict=True))
        self._points = np.array(points, dtype=np.float64).reshape(2, -1).T
        near = (np.abs(self._points) < FARTHEST_M).all(axis=1)
        if not near.all():
            raise FORMAT.damaged(path, f"has an impossible position: node {tokens[int(np.argmin(near))]}")
        self._polygon, self._line = self._by_token("polygon"), self._by_token("line")

    def areas(self, layer: str) -> ndarray:
        """Return the areas of a layer, in the order of the file."""
        rings, owners = self._rings(layer)
        areas: ndarray = np.asarray(
            shapely.polygons(
                self._shapes(rings, shapely.linearrings), indices=np.array(owners, dtype=np.int64)
            )
        )
        valid = shapely.is_valid(areas)
        if layer != "drivable_area":
            return areas[valid]
        areas[~valid] = shapely.make_valid(areas[~valid], method="structure", keep_collapsed=False)
        return areas

    def _rings(self, layer: str) -> tuple[list[list[Any]], list[int]]:
        """Return the nodes and the area of each ring of a layer, outlines before their holes."""
        records = self._records(layer)
        if layer == "drivable_area":
            tokens = list(chain.from_iterable(self._fields(records, layer, "polygon_tokens", list)))
        else:
            tokens = self._fields(records, layer, "polygon_token", str)
        polygons = self._named(tokens, layer, "polygon", self._polygon)
        outlines = self._fields(polygons, "polygon", "exterior_node_tokens", list)
        holes = self._fields(polygons, "polygon", "holes", list)
        rings, owners, areas = [], [], 0
        for outline, inner in zip(outlines, holes, strict=True):
            if len(outline) >= 3:
                of_area = [outline, *self._fields(inner, "polygon", "node_tokens", list)]
                closed = [[*ring, ring[0]] for ring in of_area if len(ring) >= 3]
                rings += closed
                owners += [areas] * len(closed)
                areas += 1
        return rings, owners

    def lines(self, layers: tuple[str, ...]) -> ndarray:
        """Return the lines of some layers."""
        paths: list[list[Any]] = []
        for layer in layers:
            tokens = self._fields(self._records(layer), layer, "line_token", str)
            lines = self._named(tokens, layer, "line", self._line)
            paths += [path for path in self._fields(lines, "line", "node_tokens", list) if len(path) >= 2]
        return self._shapes(paths, shapely.linestrings)

    def _shapes(self, paths: list[list[Any]], build: Callable[..., ndarray]) -> ndarray:
        """Return a ring or line through the nodes of each path."""
        lengths = np.fromiter(map(len, paths), dtype=np.int64, count=len(paths))
        node = self._numbers(list(chain.from_iterable(paths)))
        return build(self._points[node], indices=np.repeat(np.arange(len(paths)), lengths))

    def _numbers(self, tokens: list[Any]) -> Int64[ndarray, " n"]:
        """Return the indices of nodes."""
        try:
            numbers = np.fromiter(map(self._node.get, tokens, repeat(-1)), dtype=np.int64, count=len(tokens))
        except TypeError as error:
            raise FORMAT.damaged(self._path, "names a node by a value that is not a string") from error
        if (numbers < 0).any():
            raise FORMAT.damaged(
                self._path, f"names node {tokens[int(np.argmin(numbers))]!r}, which is not in it"
            )
        return numbers

    def _records(self, layer: str) -> list[Record]:
        """Return the records of a layer."""
        records = self._document.get(layer)
        if not isinstance(records, list) or not set(map(type, records)) <= {dict}:
            raise FORMAT.damaged(self._path, f"has no layer {layer!r}")
        return records

    def _by_token(self, layer: str) -> dict[str, Record]:
        """Return the records of a layer by token."""
        records = self._records(layer)
        return dict(zip(self._fields(records, layer, "token", str), records, strict=True))

    def _named(self, tokens: list[Any], layer: str, target: str, known: dict[str, Record]) -> list[Record]:
        """Return the records of `target` that a layer names."""
        for token in tokens:
            if not isinstance(token, str) or token not in known:
                raise FORMAT.damaged(self._path, f"names {target} {token!r} in {layer}, which is not in it")
        return [known[token] for token in tokens]

    def _fields(self, records: list[Any], layer: str, field: str, *kinds: type) -> list[Any]:
        """Return one field of every record."""
        try:
            values = [record[field] for record in records]
        except (KeyError, TypeError) as error:
            raise FORMAT.damaged(self._path, f"has a record of {layer} without {field!r}") from error
        if not set(map(type, values)) <= set(kinds):
            raise FORMAT.damaged(self._path, f"has a record of {layer} whose {field!r} has the wrong type")
        return values
