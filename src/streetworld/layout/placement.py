"""What stands along the roads of a scene: trees, posts, parked vehicles and clutter.

Houses and posts belong to the town; parked vehicles, clutter and people are drawn anew for every scene.
"""

import math
from collections.abc import Iterator

import numpy as np
from jaxtyping import Float

from streetworld.layout.ground import KERB_M, block_mesh, junction_mesh, plain_mesh, road_mesh
from streetworld.layout.land import fill_lot
from streetworld.layout.street import (
    SKYLINE_M,
    Street,
    add_clutter,
    add_vehicle,
    draw_clutter,
    place_thing,
    plant_tree,
    put_labelled,
)
from streetworld.things import scenery
from streetworld.things.clutter import CLUTTER
from streetworld.things.cycles import bicycle_rack_mesh
from streetworld.things.objects import ObjectList
from streetworld.things.shapes import place
from streetworld.things.texture_parameters import SignalParameters
from streetworld.things.vehicles import VEHICLES, draw_kind, draw_paint
from streetworld.town.lots import TownPlan, near_route
from streetworld.town.network import CROSSING_M, Road
from streetworld.town.towns import Color

ENDS_CLEAR_M = 11.0
"""Distance from the ends of roads where nobody parks."""


def build_street(plan: TownPlan, route: Float[np.ndarray, "R 2"], rng: np.random.Generator) -> Street:
    """Build everything that does not move around a route."""
    street = Street(plan, route, rng, ObjectList(), [], [])
    network = plan.network
    street.meshes.append(plain_mesh(network.size_m, street.objects))
    for block in plan.blocks:
        if near_route(block.triangles.reshape(-1, 2), route, SKYLINE_M).any():
            street.meshes.append(block_mesh(block.triangles, block.paved, street.objects))
    for road in network.roads:
        if near_route(road.curve.points, route, SKYLINE_M).any():
            street.meshes += road_mesh(network, road, street.objects)
            for side in (1, -1):
                _furnish(street, road, side)
    for junction in network.junctions:
        if street.near(junction.center, SKYLINE_M):
            street.meshes += junction_mesh(network, junction, street.objects)
    centers = np.array([lot.center for lot in plan.lots])
    for number in np.flatnonzero(near_route(centers, route, SKYLINE_M)):
        fill_lot(street, plan.lots[number])
    for tree in plan.trees[near_route(plan.trees, route, SKYLINE_M)]:
        plant_tree(street, tree, np.random.default_rng(np.abs(tree * 100).astype(int)).random(6))
    return street


def _furnish(street: Street, road: Road, side: int) -> None:
    """Put everything along one side of a road, zone by zone."""
    profile = road.profile
    kerb = profile.kerb_m(side)
    verge, walk = profile.verge_m[side < 0], profile.sidewalk_m[side < 0]
    posts = np.random.default_rng((road.index, side + 1, street.network.town.number))
    _plant_posts(street, road, side, kerb + (0.18 + verge / 2 if verge else 0.55), posts)
    if profile.parking_m[side < 0]:
        _park(street, road, side, kerb - 1.12)
    if walk > 2.0:
        _litter(street, road, side, "walk", kerb + 0.18 + verge + walk, 17.0)
    if verge > 1.3:
        _litter(street, road, side, "verge", kerb + 0.18 + verge / 2, 28.0)


def _slots(
    street: Street, road: Road, offset_m: float, start_m: float, end_m: float, gap_m: float
) -> Iterator[tuple[float, Float[np.ndarray, "2"], float]]:
    """Return random places (way, point, heading) along a road that are near the route."""
    way = start_m + street.rng.uniform(0, gap_m)
    while way < end_m:
        point, heading = road.curve.place_beside(way, offset_m)
        if street.near(point):
            yield way, point, heading
        way += gap_m * street.rng.uniform(0.6, 1.5)


def _park(street: Street, road: Road, side: int, offset_m: float) -> None:
    """Fill a parking strip with vehicles and with clutter of their size."""
    rng, length = street.rng, road.curve.length_m
    way = ENDS_CLEAR_M + rng.uniform(0, 3)
    full = rng.uniform(0.6, 0.97)
    with_traffic = side == street.network.along_side
    while way < length - ENDS_CLEAR_M:
        if rng.random() > full:
            way += rng.uniform(4, 9)
            continue
        clutter = rng.random() < 0.36
        if clutter:
            name = draw_clutter(rng, "parking")
            mesh = CLUTTER[name].make()
        else:
            name = draw_kind(rng, driving=False, longest_m=9.0)
            mesh = VEHICLES[name].make()
        extent = float(np.ptp(mesh.vertices[:, 0])) * 1.1
        if way + extent > length - ENDS_CLEAR_M:
            return
        point, heading = road.curve.place_beside(way + extent / 2, side * (offset_m + rng.normal(0, 0.06)))
        way += extent + rng.uniform(0.5, 1.6)
        if street.near(point):
            turned = 0.0 if with_traffic or rng.random() < 0.1 else math.pi
            yaw = heading + turned + rng.normal(0, 0.02)
            (add_clutter if clutter else add_vehicle)(street, name, point, yaw, 0.0)


def _litter(street: Street, road: Road, side: int, zone: str, edge_m: float, gap_m: float) -> None:
    """Scatter clutter along a sidewalk's building side or in a verge."""
    length = road.curve.length_m
    for _, point, heading in _slots(street, road, side * edge_m, 6.0, length - 6.0, gap_m):
        if zone == "walk" and street.rng.random() < 0.12:
            number = street.objects.add("clutter", draw_paint(street.rng), seed=len(street.objects))
            pose = (*point, KERB_M, heading + math.pi / 2)
            put_labelled(
                street, number, bicycle_rack_mesh(), (1.0, 1.0, 1.0), "static_object.bicycle_rack", pose, None
            )
            continue
        name = draw_clutter(street.rng, zone)
        depth = float(np.ptp(CLUTTER[name].make().vertices[:, 1])) * 1.12
        if zone == "walk" and depth > road.profile.sidewalk_m[side < 0] - 0.9:
            continue
        inward = 0.0 if zone == "verge" else depth / 2
        left = np.array([-math.sin(heading), math.cos(heading)])
        yaw = heading + (math.pi if side > 0 else 0.0)
        add_clutter(street, name, point - side * inward * left, yaw, KERB_M)


def _plant_posts(street: Street, road: Road, side: int, offset_m: float, posts: np.random.Generator) -> None:
    """Plant trees, lamps and signs behind the kerb; `posts` is the town's, as they are."""
    town, length = street.network.town, road.curve.length_m
    heading_sign = 1 if side == street.network.along_side else -1
    number = 0
    way = 7.0 + posts.uniform(0, 4)
    while way < length - 7.0:
        point, yaw = road.curve.place_beside(way, side * offset_m)
        kind, draws = posts.random(), posts.random(6)
        way += posts.uniform(6.5, 11)
        number += 1
        if not street.near(point, SKYLINE_M):
            continue
        if number % 3 == 0:
            place_thing(
                street,
                scenery.street_lamp(),
                point,
                yaw + (math.pi if side > 0 else 0.0),
                "pole",
                (0.25, 0.26, 0.27),
            )
            street.lamps.append((float(point[0]), float(point[1])))
        elif kind < town.trees:
            plant_tree(street, point, draws)
        elif kind < town.trees + 0.12:
            facing = yaw if heading_sign > 0 else yaw + math.pi
            place_thing(street, scenery.sign(int(draws[0] * 3)), point, facing, "pole", _sign_color(draws[1]))


def _sign_color(draw: float) -> Color:
    """Return the colour of a traffic sign."""
    return ((0.5, 0.02, 0.02), (0.02, 0.08, 0.4), (0.6, 0.5, 0.05))[int(draw * 3)]


def add_traffic_lights(street: Street) -> None:
    """Add a light beside every stop line, on the side where traffic arrives."""
    network = street.network
    for junction in network.junctions:
        if not junction.signals or not street.near(junction.center):
            continue
        for position, arm in enumerate(junction.arms):
            # Arriving traffic keeps to the other side than leaving traffic, seen out of the junction.
            side = -network.along_side
            kerb = arm.left_m if side > 0 else arm.right_m
            left = np.array([-arm.direction[1], arm.direction[0]])
            back = CROSSING_M[1] + 0.2
            point = arm.point + back * arm.direction + side * (kerb + 0.5) * left
            yaw = math.atan2(-arm.direction[1], -arm.direction[0])
            signal = SignalParameters(float(junction.index), float(position), state=0.0)
            number = street.objects.add("pole", (0.05, 0.05, 0.05), parameters=signal)
            street.meshes.append(
                place(scenery.traffic_light(), (*point, KERB_M), yaw_rad=yaw, object_id=number)
            )
