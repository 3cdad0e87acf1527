"""The map of a log, in the city frame: drivable areas, crossings, and the painted marks between lanes.

Heights are dropped, because the map layers of this project are planar. Axes: `n` points.
"""

from collections.abc import Iterator, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import shapely
from jaxtyping import Float64
from numpy import ndarray

from occfeat.data.maps.json_file import MapFormat
from occfeat.data.maps.masks import ShapeMap
from occfeat.data.source.tables import FARTHEST_M

MAP_LAYERS = ("drivable_area", "ped_crossing", "divider")
"""Layers of these maps."""

UNPAINTED = ("NONE", "UNKNOWN")
"""Marks of lane boundaries that are no paint."""

FORMAT = MapFormat("Map", "Download the `map` folder of this log again.", 200_000_000)
"""How a map is read; that of a log has about 0.5 MB."""

Record = dict[str, Any]


@lru_cache(maxsize=1024)
def read_map_file(path: Path) -> ShapeMap:
    """Read the layers of a map and cache them: 7 ms and less than 0.1 MB for that of a log.

    Areas that cross themselves are repaired (this project's choice).

    Raises:
        DatasetError: The file cannot be read or is not JSON, or a record of it is incomplete or has an
        impossible position.
    """
    reader = _Reader(path, FORMAT.read(path))
    return ShapeMap(
        {
            "drivable_area": shapely.STRtree(reader.areas("drivable_areas", ("area_boundary",))),
            "ped_crossing": shapely.STRtree(reader.areas("pedestrian_crossings", ("edge1", "edge2"))),
            "divider": shapely.STRtree(reader.dividers()),
        }
    )


class _Reader:
    """Builds shapes from the records of one file."""

    def __init__(self, path: Path, document: Record) -> None:
        self._path, self._document = path, document

    def areas(self, layer: str, parts: Sequence[str]) -> ndarray:
        """Return the areas of a layer, in the order of the file.

        Args:
            layer: Name of the layer in the file.
            parts: The lines that make up the outline of a record. The second runs beside the first, so it is
            followed backwards.
        """
        rings = []
        for record in self._records(layer):
            lines = [self._points(record, layer, name) for name in parts]
            ring = np.concatenate([line if i == 0 else line[::-1] for i, line in enumerate(lines)])
            if len(ring) >= 3:
                rings.append(shapely.polygons(np.concatenate((ring, ring[:1]))))
        areas: ndarray = np.array(rings, dtype=object)
        crossed = ~shapely.is_valid(areas)
        areas[crossed] = shapely.make_valid(areas[crossed], method="structure", keep_collapsed=False)
        return areas

    def dividers(self) -> ndarray:
        """Return the lane boundaries that are painted; those that two lanes share come once."""
        lines = {line.tobytes(): line for line in self._painted() if len(line) >= 2}
        return np.array([shapely.linestrings(line) for line in lines.values()], dtype=object)

    def _painted(self) -> Iterator[Float64[ndarray, "n 2"]]:
        """Find the painted boundaries of all lanes."""
        for record in self._records("lane_segments"):
            for side in ("left", "right"):
                mark = record.get(f"{side}_lane_mark_type")
                if not isinstance(mark, str):
                    what = f"has a record of lane_segments whose '{side}_lane_mark_type' is not a name"
                    raise FORMAT.damaged(self._path, what)
                if mark not in UNPAINTED:
                    yield self._points(record, "lane_segments", f"{side}_lane_boundary")

    def _records(self, layer: str) -> list[Record]:
        """Return the records of a layer."""
        records = self._document.get(layer)
        if not isinstance(records, dict) or not set(map(type, records.values())) <= {dict}:
            raise FORMAT.damaged(self._path, f"has no layer {layer!r}")
        return list(records.values())

    def _points(self, record: Record, layer: str, name: str) -> Float64[ndarray, "n 2"]:
        """Return the points of a line of a record, without their heights."""
        try:
            points = [(float(point["x"]), float(point["y"])) for point in record[name]]
        except (KeyError, TypeError, ValueError, OverflowError) as error:
            raise FORMAT.damaged(self._path, f"has a record of {layer} without points in {name!r}") from error
        found = np.array(points, dtype=np.float64).reshape(-1, 2)
        if not (np.abs(found) < FARTHEST_M).all():
            raise FORMAT.damaged(self._path, f"has an impossible position in {name!r} of {layer}")
        return found
