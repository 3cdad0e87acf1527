"""nuScenes' map expansion, version 1.3, of a town: every layer the devkit knows.

Lanes have a module of their own, `lane_records`.
"""

import math

import numpy as np
from jaxtyping import Float

from streetworld.output.lane_records import expand_lanes
from streetworld.output.map_records import MapRecords, Record
from streetworld.town.lots import TownPlan
from streetworld.town.network import (
    CROSSING_M,
    KERBSTONE_M,
    STOP_LINE_M,
    Junction,
    Network,
    Road,
    corner_sides,
)

VERSION = "1.3"


def expand_map(plan: TownPlan) -> Record:
    """Return all layers of a town's map."""
    return _Expansion(plan).build()


class _Expansion:
    """Goes through a town and records what there is."""

    def __init__(self, plan: TownPlan) -> None:
        self.plan = plan
        self.network: Network = plan.network
        self.records = MapRecords(self.network.town.name)

    def build(self) -> Record:
        """Build all layers."""
        for road in self.network.roads:
            self._add_road(road)
        for junction in self.network.junctions:
            self._add_junction(junction)
        beside_layers = expand_lanes(self.network, self.records)
        for number, lot in enumerate(self.plan.lots):
            if lot.kind == "car_park":
                block = self.records.token("block", lot.road, lot.side)
                polygon = self.records.polygon(lot.corners)
                self.records.add(
                    "carpark_area",
                    ("lot", number),
                    polygon_token=polygon,
                    orientation=lot.yaw_rad,
                    road_block_token=block,
                )
        return {
            "version": VERSION,
            "canvas_edge": list(self.network.size_m),
            **self.records.layers,
            **beside_layers,
        }

    def _add_road(self, road: Road) -> None:
        """Add what belongs to a road."""
        holes = [] if road.median is None else [road.median]
        area = self.records.polygon(road.outline, holes)
        drivable = self.records.add("drivable_area", ("drivable", road.index), polygon_tokens=[area])
        segment = self.records.add(
            "road_segment",
            ("segment", road.index),
            polygon_token=self.records.polygon(road.outline),
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
        """Add one direction of a road."""
        inner = road.curve.offset(side * road.profile.median_m / 2)
        outer = road.kerb(side)
        along = side == self.network.along_side
        ends = [np.stack((inner.points[i], outer.points[i])) for i in (0, -1)]
        first, last = (self.records.line(end) for end in (ends if along else ends[::-1]))
        self.records.add(
            "road_block",
            ("block", road.index, side),
            polygon_token=self.records.polygon(np.concatenate((inner.points, outer.points[::-1]))),
            from_edge_line_token=first,
            to_edge_line_token=last,
            road_segment_token=segment,
        )

    def _add_dividers(self, road: Road, segment: str) -> None:
        """Add the lines between lanes and in the middle of a road."""
        profile = road.profile
        middles = (1, -1) if profile.planted else (0,)
        for side in middles:
            line = self.records.line(road.curve.offset(side * profile.median_m / 2).points)
            self.records.add(
                "road_divider",
                ("road divider", road.index, side),
                line_token=line,
                road_segment_token=segment,
            )
        for side in (1, -1):
            for number in range(1, profile.lanes[side < 0]):
                offset = side * (profile.median_m / 2 + number * profile.lane_m)
                line = self.records.line(road.curve.offset(offset).points)
                nodes = self.records.layers["line"][-1]["node_tokens"]
                segments = [{"node_token": node, "segment_type": "SINGLE_DASHED_WHITE"} for node in nodes]
                self.records.add(
                    "lane_divider",
                    ("lane divider", road.index, side, number),
                    line_token=line,
                    lane_divider_segments=segments,
                )

    def _add_walkway(self, road: Road, side: int) -> None:
        """Add the sidewalk on one side of a road."""
        profile = road.profile
        near = profile.kerb_m(side) + KERBSTONE_M + profile.verge_m[side < 0]
        edges = [
            road.curve.offset(side * reach).points for reach in (near, near + profile.sidewalk_m[side < 0])
        ]
        polygon = self.records.polygon(np.concatenate((edges[0], edges[1][::-1])))
        self.records.add("walkway", ("walkway", road.index, side), polygon_token=polygon)

    def _add_road_end(self, road: Road, at_start: bool, segment: str) -> None:
        """Add crossing, stop line and traffic light at one end of a road."""
        end, profile, along = (0 if at_start else 1), road.profile, self.network.along_side
        crossings = []
        if road.crossings[end]:
            points = _across(road, at_start, CROSSING_M, profile.kerb_m(1), -profile.kerb_m(-1))
            crossings.append(
                self.records.add(
                    "ped_crossing",
                    ("crossing", road.index, end),
                    polygon_token=self.records.polygon(points),
                    road_segment_token=segment,
                )
            )
        if not self.network.junctions[road.ends[end]].signals:
            return
        side = -along if at_start else along
        block = self.records.token("block", road.index, side)
        light = self._add_light(road, at_start, side, block)
        points = _across(
            road, at_start, STOP_LINE_M, side * profile.lane_edge_m(side), side * profile.median_m / 2
        )
        self.records.add(
            "stop_line",
            ("stop line", road.index, end),
            polygon_token=self.records.polygon(points),
            stop_line_type="TRAFFIC_LIGHT",
            ped_crossing_tokens=crossings,
            traffic_light_tokens=[light],
            road_block_token=block,
        )

    def _add_light(self, road: Road, at_start: bool, side: int, block: str) -> str:
        """Add the traffic light at an end of a road and return its token."""
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
        return self.records.add(
            "traffic_light",
            ("light", road.index, at_start),
            line_token=self.records.line(np.stack((points[1] - across, points[1] + across))),
            traffic_light_type="VERTICAL",
            from_road_block_token=block,
            items=items,
            pose={"tx": x, "ty": y, "tz": 3.0, "rx": 0.0, "ry": 0.0, "rz": yaw},
        )

    def _add_junction(self, junction: Junction) -> None:
        """Add what belongs to a junction."""
        area = self.records.polygon(junction.outline)
        drivable = self.records.add(
            "drivable_area", ("drivable junction", junction.index), polygon_tokens=[area]
        )
        self.records.add(
            "road_segment",
            ("segment junction", junction.index),
            polygon_token=self.records.polygon(junction.outline),
            is_intersection=True,
            drivable_area_token=drivable,
        )
        for number, corner in enumerate(junction.corners):
            verge, walk = corner_sides(self.network, junction, corner)
            near = KERBSTONE_M + verge
            edges = [corner.curve.offset(-reach).points for reach in (near, near + walk)]
            polygon = self.records.polygon(np.concatenate((edges[0], edges[1][::-1])))
            self.records.add("walkway", ("walkway junction", junction.index, number), polygon_token=polygon)


def _across(
    road: Road, at_start: bool, way_m: tuple[float, float], left_m: float, right_m: float
) -> Float[np.ndarray, "4 2"]:
    """Return the outline of a stripe across a road near one of its ends, between two offsets."""
    ways = np.array(way_m) if at_start else road.curve.length_m - np.array(way_m)
    return np.concatenate((road.curve.beside(ways, left_m), road.curve.beside(ways[::-1], right_m)))
