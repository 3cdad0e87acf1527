"""Lanes of nuScenes' map expansion: polygons, middle lines as arcs, and which lane leads to which."""

import numpy as np

from streetworld.output.map_records import MapRecords, Record
from streetworld.town.curves import Curve
from streetworld.town.network import Lane, Network

ARC_M = 4.0
"""Length of the arcs that stand for the middle line of a lane."""


def expand_lanes(network: Network, records: MapRecords) -> Record:
    """Record all lanes of a town; return those entries of its map that are not layers."""
    for lane in network.lanes:
        _add_lane(lane, records)
    tokens = [_token(lane, records) for lane in network.lanes]
    arcs = {name: arc_path(lane.curve) for name, lane in zip(tokens, network.lanes, strict=True)}
    return {"arcline_path_3": arcs, "connectivity": _connectivity(network, tokens)}


def _token(lane: Lane, records: MapRecords) -> str:
    """Return the token of a lane."""
    return records.token("lane", lane.index)


def _add_lane(lane: Lane, records: MapRecords) -> None:
    """Add a lane or a lane connector."""
    left, right = (lane.curve.offset(side * lane.width_m / 2).points for side in (1, -1))
    polygon = records.polygon(np.concatenate((left, right[::-1])))
    if lane.road is None:
        records.add("lane_connector", ("lane", lane.index), polygon_token=polygon)
        return
    records.add(
        "lane",
        ("lane", lane.index),
        polygon_token=polygon,
        lane_type="CAR",
        from_edge_line_token=records.line(np.stack((left[0], right[0]))),
        to_edge_line_token=records.line(np.stack((left[-1], right[-1]))),
        left_lane_divider_segments=[],
        right_lane_divider_segments=[],
    )


def _connectivity(network: Network, tokens: list[str]) -> dict[str, Record]:
    """Return the incoming and outgoing lanes of every lane."""
    links: dict[str, Record] = {name: {"incoming": [], "outgoing": []} for name in tokens}
    for name, following in zip(tokens, network.following, strict=True):
        for other in following:
            links[name]["outgoing"].append(tokens[other])
            links[tokens[other]]["incoming"].append(name)
    return links


def arc_path(curve: Curve) -> list[Record]:
    """Return a curve as circular arcs and straight pieces of about `ARC_M`, each starting on the curve.

    nuScenes writes every piece as three: an arc, a straight or an arc, an arc. Two of them are empty here.
    """
    count = max(1, round(curve.length_m / ARC_M))
    ways = np.linspace(0, curve.length_m, count + 1)
    points, directions = curve.position(ways), curve.direction(ways)
    yaws = np.unwrap(np.arctan2(directions[:, 1], directions[:, 0]))
    poses = np.column_stack((points, yaws)).tolist()
    pieces = []
    for i, (length, turn) in enumerate(zip(np.diff(ways).tolist(), np.diff(yaws).tolist(), strict=True)):
        straight = abs(turn) < 1e-3
        pieces.append(
            {
                "start_pose": poses[i],
                "end_pose": poses[i + 1],
                "shape": "LSL" if turn > 0 else "RSR",
                "radius": 999.999 if straight else length / abs(turn),
                "segment_length": [0.0, length, 0.0] if straight else [length, 0.0, 0.0],
            }
        )
    return pieces
