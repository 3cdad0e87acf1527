"""nuScenes' map expansion, version 1.3, of a town: every layer the devkit knows.

Polygons and lines are lists of nodes in the town's frame, in metres.
"""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from jaxtyping import Float

from occfeat.world.curves import Curve, thin
from occfeat.world.lots import CORNERS, TownPlan
from occfeat.world.network import (
    CROSSING_M,
    KERBSTONE_M,
    STOP_LINE_M,
    Junction,
    Lane,
    Network,
    Road,
    corner_sides,
)
from occfeat.world.writer import token

VERSION = "1.3"
ARC_M = 4.0
"""Length of the arcs that stand for the middle line of a lane."""
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


def expand_map(plan: TownPlan) -> Record:
    """All layers of a town's map."""
    return _Expansion(plan).build()


class _Expansion:
    """Collects records; a token names what a record is made of, so maps of equal towns are equal."""

    def __init__(self, plan: TownPlan) -> None:
        self.plan = plan
        self.network: Network = plan.network
        self.layers: dict[str, list[Record]] = {layer: [] for layer in LAYERS}
        self._map_token = token("map", self.network.town.name)

    def build(self) -> Record:
        for road in self.network.roads:
            self._add_road(road)
        for junction in self.network.junctions:
            self._add_junction(junction)
        for lane in self.network.lanes:
            self._add_lane(lane)
        for number, lot in enumerate(self.plan.lots):
            if lot.kind == "car_park":
                block = self._token("block", lot.road, lot.side)
                polygon = self._polygon(lot.points(CORNERS))
                self._add(
                    "carpark_area",
                    ("lot", number),
                    polygon_token=polygon,
                    orientation=lot.yaw_rad,
                    road_block_token=block,
                )
        return {
            "version": VERSION,
            "canvas_edge": list(self.network.size_m),
            **self.layers,
            "arcline_path_3": {self._lane_token(lane): arc_path(lane.curve) for lane in self.network.lanes},
            "connectivity": self._connectivity(),
        }

    def _token(self, *parts: object) -> str:
        return token("map", self.network.town.name, *parts)

    def _lane_token(self, lane: Lane) -> str:
        return self._token("lane", lane.index)

    def _add(self, layer: str, name: tuple[object, ...], **fields: Any) -> str:
        number = self._token(*name)
        self.layers[layer].append({"token": number, **fields})
        return number

    def _nodes(self, points: Float[np.ndarray, "P 2"]) -> list[str]:
        """New nodes at given points; they are numbered, as there are too many to hash."""
        points = thin(points)
        start = len(self.layers["node"])
        tokens = [f"{self._map_token[:16]}{start + i:016x}" for i in range(len(points))]
        self.layers["node"] += [
            {"token": number, "x": x, "y": y}
            for number, (x, y) in zip(tokens, np.round(points, 4).tolist(), strict=True)
        ]
        return tokens

    def _polygon(
        self, points: Float[np.ndarray, "P 2"], holes: Sequence[Float[np.ndarray, "H 2"]] = ()
    ) -> str:
        return self._add(
            "polygon",
            ("polygon", len(self.layers["polygon"])),
            exterior_node_tokens=self._nodes(points),
            holes=[{"node_tokens": self._nodes(hole)} for hole in holes],
        )

    def _line(self, points: Float[np.ndarray, "P 2"]) -> str:
        return self._add("line", ("line", len(self.layers["line"])), node_tokens=self._nodes(points))

    def _add_road(self, road: Road) -> None:
        holes = [] if road.median is None else [road.median]
        area = self._polygon(road.outline, holes)
        drivable = self._add("drivable_area", ("drivable", road.index), polygon_tokens=[area])
        segment = self._add(
            "road_segment",
            ("segment", road.index),
            polygon_token=self._polygon(road.outline),
            is_intersection=False,
            drivable_area_token=drivable,
        )
        self._add_dividers(road, segment)
        for side in (1, -1):
            self._add_block(road, side, segment)
            self._add_walkway(road, side)
        for at_start in (True, False):
            self._add_road_end(road, at_start, segment)

    def _add_block(self, road: Road, side: int, segment: str) -> None:
        """One direction of a road."""
        inner = road.curve.offset(side * road.profile.median_m / 2)
        outer = road.kerb(side)
        along = side == self.network.along_side
        ends = [np.stack((inner.points[i], outer.points[i])) for i in (0, -1)]
        first, last = (self._line(end) for end in (ends if along else ends[::-1]))
        self._add(
            "road_block",
            ("block", road.index, side),
            polygon_token=self._polygon(np.concatenate((inner.points, outer.points[::-1]))),
            from_edge_line_token=first,
            to_edge_line_token=last,
            road_segment_token=segment,
        )

    def _add_dividers(self, road: Road, segment: str) -> None:
        profile = road.profile
        middles = (1, -1) if profile.planted else (0,)
        for side in middles:
            line = self._line(road.curve.offset(side * profile.median_m / 2).points)
            self._add(
                "road_divider",
                ("road divider", road.index, side),
                line_token=line,
                road_segment_token=segment,
            )
        for side in (1, -1):
            for number in range(1, profile.lanes[side < 0]):
                offset = side * (profile.median_m / 2 + number * profile.lane_m)
                line = self._line(road.curve.offset(offset).points)
                nodes = self.layers["line"][-1]["node_tokens"]
                segments = [{"node_token": node, "segment_type": "SINGLE_DASHED_WHITE"} for node in nodes]
                self._add(
                    "lane_divider",
                    ("lane divider", road.index, side, number),
                    line_token=line,
                    lane_divider_segments=segments,
                )

    def _add_walkway(self, road: Road, side: int) -> None:
        profile = road.profile
        near = profile.kerb_m(side) + KERBSTONE_M + profile.verge_m[side < 0]
        edges = [
            road.curve.offset(side * reach).points for reach in (near, near + profile.sidewalk_m[side < 0])
        ]
        polygon = self._polygon(np.concatenate((edges[0], edges[1][::-1])))
        self._add("walkway", ("walkway", road.index, side), polygon_token=polygon)

    def _add_road_end(self, road: Road, at_start: bool, segment: str) -> None:
        """Crossing, stop line and traffic light at one end of a road."""
        end, profile, along = (0 if at_start else 1), road.profile, self.network.along_side
        crossings = []
        if road.crossings[end]:
            points = _across(road, at_start, CROSSING_M, profile.kerb_m(1), -profile.kerb_m(-1))
            crossings.append(
                self._add(
                    "ped_crossing",
                    ("crossing", road.index, end),
                    polygon_token=self._polygon(points),
                    road_segment_token=segment,
                )
            )
        if not self.network.junctions[road.ends[end]].signals:
            return
        side = -along if at_start else along
        block = self._token("block", road.index, side)
        light = self._add_light(road, at_start, side, block)
        points = _across(
            road, at_start, STOP_LINE_M, side * profile.lane_edge_m(side), side * profile.median_m / 2
        )
        self._add(
            "stop_line",
            ("stop line", road.index, end),
            polygon_token=self._polygon(points),
            stop_line_type="TRAFFIC_LIGHT",
            ped_crossing_tokens=crossings,
            traffic_light_tokens=[light],
            road_block_token=block,
        )

    def _add_light(self, road: Road, at_start: bool, side: int, block: str) -> str:
        points = _across(road, at_start, CROSSING_M, side * (road.profile.kerb_m(side) + 0.5), 0.0)
        x, y = (float(part) for part in points[1])
        heading = road.curve.tangents[0] if at_start else -road.curve.tangents[-1]
        yaw = math.atan2(heading[1], heading[0])
        colors = (("RED", 0.32), ("YELLOW", 0.0), ("GREEN", -0.32))
        items = [
            {
                "color": color,
                "shape": "CIRCLE",
                "to_road_block_tokens": [],
                "rel_pos": {"tx": 0.0, "ty": 0.0, "tz": height, "rx": 0.0, "ry": 0.0, "rz": 0.0},
            }
            for color, height in colors
        ]
        across = 0.2 * np.array([-heading[1], heading[0]])
        return self._add(
            "traffic_light",
            ("light", road.index, at_start),
            line_token=self._line(np.stack((points[1] - across, points[1] + across))),
            traffic_light_type="VERTICAL",
            from_road_block_token=block,
            items=items,
            pose={"tx": x, "ty": y, "tz": 3.0, "rx": 0.0, "ry": 0.0, "rz": yaw},
        )

    def _add_junction(self, junction: Junction) -> None:
        area = self._polygon(junction.outline)
        drivable = self._add("drivable_area", ("drivable junction", junction.index), polygon_tokens=[area])
        self._add(
            "road_segment",
            ("segment junction", junction.index),
            polygon_token=self._polygon(junction.outline),
            is_intersection=True,
            drivable_area_token=drivable,
        )
        for number, corner in enumerate(junction.corners):
            verge, walk = corner_sides(self.network, junction, corner)
            near = KERBSTONE_M + verge
            edges = [corner.curve.offset(-reach).points for reach in (near, near + walk)]
            polygon = self._polygon(np.concatenate((edges[0], edges[1][::-1])))
            self._add("walkway", ("walkway junction", junction.index, number), polygon_token=polygon)

    def _add_lane(self, lane: Lane) -> None:
        left, right = (lane.curve.offset(side * lane.width_m / 2).points for side in (1, -1))
        polygon = self._polygon(np.concatenate((left, right[::-1])))
        if lane.road is None:
            self._add("lane_connector", ("lane", lane.index), polygon_token=polygon)
            return
        self._add(
            "lane",
            ("lane", lane.index),
            polygon_token=polygon,
            lane_type="CAR",
            from_edge_line_token=self._line(np.stack((left[0], right[0]))),
            to_edge_line_token=self._line(np.stack((left[-1], right[-1]))),
            left_lane_divider_segments=[],
            right_lane_divider_segments=[],
        )

    def _connectivity(self) -> dict[str, Record]:
        lanes = self.network.lanes
        links: dict[str, Record] = {
            self._lane_token(lane): {"incoming": [], "outgoing": []} for lane in lanes
        }
        for lane, following in zip(lanes, self.network.following, strict=True):
            for other in following:
                links[self._lane_token(lane)]["outgoing"].append(self._lane_token(lanes[other]))
                links[self._lane_token(lanes[other])]["incoming"].append(self._lane_token(lane))
        return links


def _across(
    road: Road, at_start: bool, way_m: tuple[float, float], left_m: float, right_m: float
) -> Float[np.ndarray, "4 2"]:
    """A stripe across a road near one of its ends, between two offsets."""
    ways = np.array(way_m) if at_start else road.curve.length_m - np.array(way_m)
    return np.concatenate((road.curve.beside(ways, left_m), road.curve.beside(ways[::-1], right_m)))


def arc_path(curve: Curve) -> list[Record]:
    """A curve as circular arcs and straight pieces of about `ARC_M`, each starting on the curve.

    nuScenes writes every piece as three: an arc, a straight or an arc, an arc. Two of them are empty here.
    """
    count = max(1, round(curve.length_m / ARC_M))
    ways = np.linspace(0, curve.length_m, count + 1)
    points, directions = curve.position(ways), curve.direction(ways)
    yaws = np.unwrap(np.arctan2(directions[:, 1], directions[:, 0]))
    pieces = []
    for i in range(count):
        length, turn = float(ways[i + 1] - ways[i]), float(yaws[i + 1] - yaws[i])
        straight = abs(turn) < 1e-3
        pieces.append(
            {
                "start_pose": [float(points[i, 0]), float(points[i, 1]), float(yaws[i])],
                "end_pose": [float(points[i + 1, 0]), float(points[i + 1, 1]), float(yaws[i + 1])],
                "shape": "LSL" if turn > 0 else "RSR",
                "radius": 999.999 if straight else length / abs(turn),
                "segment_length": [0.0, length, 0.0] if straight else [length, 0.0, 0.0],
            }
        )
    return pieces
