"""What stands beside the roads of a scene: houses, trees, posts, parked vehicles and clutter.

Houses and posts belong to the town; parked vehicles, clutter and people are drawn anew for every scene.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from occfeat.world import scenery
from occfeat.world.clutter import CLUTTER
from occfeat.world.cycles import bicycle_rack_mesh
from occfeat.world.ground import KERB_M, junction_mesh, plain_mesh, quad, road_mesh
from occfeat.world.lots import CORNERS, Lot, TownPlan, near_route
from occfeat.world.materials import Material
from occfeat.world.network import CROSSING_M, Network, Road
from occfeat.world.objects import Annotation, ObjectList
from occfeat.world.shapes import Mesh, join, place
from occfeat.world.towns import Color
from occfeat.world.vehicles import VEHICLES, draw_kind, draw_paint, draw_scale

STREET_M = 100.0
"""How far from the route small things are placed."""
SKYLINE_M = 170.0
"""How far from the route houses and roads are placed."""
ENDS_CLEAR_M = 11.0
"""Distance from the ends of roads where nobody parks."""

CLUTTER_COLORS: tuple[Color, ...] = (
    (0.05, 0.22, 0.10), (0.45, 0.28, 0.03), (0.35, 0.05, 0.03), (0.04, 0.12, 0.30), (0.5, 0.5, 0.48), (0.18, 0.18, 0.19),
    (0.32, 0.14, 0.05),
)  # fmt: skip


@dataclass
class Street:
    """A scene under construction, in the town's frame."""

    plan: TownPlan
    route: Float[np.ndarray, "R 2"]
    """Points along the ego vehicle's way."""
    rng: np.random.Generator
    objects: ObjectList
    meshes: list[Mesh]
    lamps: list[tuple[float, float]]
    """Positions of burning street lamps."""

    @property
    def network(self) -> Network:
        """The town's roads."""
        return self.plan.network

    def near(self, point: Float[np.ndarray, "2"], reach_m: float = STREET_M) -> bool:
        """Whether a point lies within reach of the route."""
        return bool(near_route(point[None], self.route, reach_m)[0])


def build_street(plan: TownPlan, route: Float[np.ndarray, "R 2"], rng: np.random.Generator) -> Street:
    """Everything that does not move around a route."""
    street = Street(plan, route, rng, ObjectList(), [], [])
    network = plan.network
    street.meshes.append(plain_mesh(network.size_m, street.objects))
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
        _fill_lot(street, plan.lots[number])
    for tree in plan.trees[near_route(plan.trees, route, SKYLINE_M)]:
        _plant_tree(street, tree, np.random.default_rng(np.abs(tree * 100).astype(int)).random(6))
    return street


def add_vehicle(
    street: Street, name: str, point: Float[np.ndarray, "2"], yaw_rad: float, height_m: float
) -> None:
    """Put a parked vehicle down."""
    kind = VEHICLES[name]
    scale = draw_scale(street.rng, kind.varies)
    mesh = kind.make()
    number = street.objects.add(
        "vehicle", draw_paint(street.rng), draw_paint(street.rng), kind.paint_marks, len(street.objects)
    )
    attribute = "cycle.without_rider" if kind.cycle else "vehicle.parked"
    _annotate(street, number, mesh, scale, kind.category, (*point, height_m, yaw_rad), attribute)


def add_clutter(
    street: Street, name: str, point: Float[np.ndarray, "2"], yaw_rad: float, height_m: float
) -> None:
    """Put a thing down that is no vehicle."""
    kind = CLUTTER[name]
    scale = draw_scale(street.rng, 0.12)
    colors = [draw_paint(street.rng), CLUTTER_COLORS[street.rng.integers(len(CLUTTER_COLORS))]]
    street.rng.shuffle(colors)
    number = street.objects.add("clutter", colors[0], colors[1], seed=len(street.objects))
    pose = (*point, height_m, yaw_rad)
    if kind.category is None:
        street.meshes.append(place(kind.make(), pose[:3], yaw_rad=yaw_rad, scale=scale, object_id=number))
    else:
        _annotate(street, number, kind.make(), scale, kind.category, pose, None)


def _annotate(
    street: Street,
    number: int,
    mesh: Mesh,
    scale: tuple[float, float, float],
    category: str,
    pose: tuple[float, float, float, float],
    attribute: str | None,
) -> None:
    street.meshes.append(place(mesh, pose[:3], yaw_rad=pose[3], scale=scale, object_id=number))
    street.objects.annotations[number] = annotation_of(mesh, scale, category, attribute)
    street.objects.poses[number] = pose


def annotation_of(
    mesh: Mesh, scale: tuple[float, float, float], category: str, attribute: str | None
) -> Annotation:
    """The box that just holds a scaled template."""
    low, high = (bound * np.asarray(scale) for bound in mesh.bounds)
    size, middle = high - low, (high + low) / 2
    return Annotation(
        category,
        (float(size[0]), float(size[1]), float(size[2])),
        (float(middle[0]), float(middle[1]), float(middle[2])),
        attribute,
        mesh,
        scale,
    )


def _furnish(street: Street, road: Road, side: int) -> None:
    """Everything along one side of a road, zone by zone."""
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
    """Random places (way, point, heading) along a road that are near the route."""
    way = start_m + street.rng.uniform(0, gap_m)
    while way < end_m:
        at = np.array([way])
        point, heading = road.curve.beside(at, offset_m)[0], road.curve.direction(at)[0]
        if street.near(point):
            yield way, point, math.atan2(heading[1], heading[0])
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
            name = _draw_clutter(rng, "parking")
            mesh = CLUTTER[name].make()
        else:
            name = draw_kind(rng, driving=False, longest_m=9.0)
            mesh = VEHICLES[name].make()
        extent = float(np.ptp(mesh.vertices[:, 0])) * 1.1
        if way + extent > length - ENDS_CLEAR_M:
            return
        at = np.array([way + extent / 2])
        point, heading = (
            road.curve.beside(at, side * (offset_m + rng.normal(0, 0.06)))[0],
            road.curve.direction(at)[0],
        )
        way += extent + rng.uniform(0.5, 1.6)
        if street.near(point):
            turned = 0.0 if with_traffic or rng.random() < 0.1 else math.pi
            yaw = math.atan2(heading[1], heading[0]) + turned + rng.normal(0, 0.02)
            (add_clutter if clutter else add_vehicle)(street, name, point, yaw, 0.0)


def _draw_clutter(rng: np.random.Generator, zone: str) -> str:
    names = [name for name, kind in CLUTTER.items() if zone in kind.zones]
    shares = np.array([CLUTTER[name].share for name in names])
    return names[rng.choice(len(names), p=shares / shares.sum())]


def _litter(street: Street, road: Road, side: int, zone: str, edge_m: float, gap_m: float) -> None:
    """Clutter along a sidewalk's building side or in a verge."""
    length = road.curve.length_m
    for _, point, heading in _slots(street, road, side * edge_m, 6.0, length - 6.0, gap_m):
        if zone == "walk" and street.rng.random() < 0.12:
            number = street.objects.add("clutter", draw_paint(street.rng), seed=len(street.objects))
            pose = (*point, KERB_M, heading + math.pi / 2)
            _annotate(
                street, number, bicycle_rack_mesh(), (1.0, 1.0, 1.0), "static_object.bicycle_rack", pose, None
            )
            continue
        name = _draw_clutter(street.rng, zone)
        depth = float(np.ptp(CLUTTER[name].make().vertices[:, 1])) * 1.12
        if zone == "walk" and depth > road.profile.sidewalk_m[side < 0] - 0.9:
            continue
        inward = 0.0 if zone == "verge" else depth / 2
        left = np.array([-math.sin(heading), math.cos(heading)])
        yaw = heading + (math.pi if side > 0 else 0.0)
        add_clutter(street, name, point - side * inward * left, yaw, KERB_M)


def _plant_posts(street: Street, road: Road, side: int, offset_m: float, posts: np.random.Generator) -> None:
    """Trees, lamps and signs behind the kerb; they belong to the town, so `posts` is the town's."""
    town, length = street.network.town, road.curve.length_m
    heading_sign = 1 if side == street.network.along_side else -1
    number = 0
    way = 7.0 + posts.uniform(0, 4)
    while way < length - 7.0:
        at = np.array([way])
        point, heading = road.curve.beside(at, side * offset_m)[0], road.curve.direction(at)[0]
        yaw = math.atan2(heading[1], heading[0])
        kind, draws = posts.random(), posts.random(6)
        way += posts.uniform(6.5, 11)
        number += 1
        if not street.near(point, SKYLINE_M):
            continue
        if number % 3 == 0:
            _place(
                street,
                scenery.street_lamp(),
                point,
                yaw + (math.pi if side > 0 else 0.0),
                "pole",
                (0.25, 0.26, 0.27),
            )
            street.lamps.append((float(point[0]), float(point[1])))
        elif kind < town.trees:
            _plant_tree(street, point, draws)
        elif kind < town.trees + 0.12:
            facing = yaw if heading_sign > 0 else yaw + math.pi
            _place(street, scenery.sign(int(draws[0] * 3)), point, facing, "pole", _sign_color(draws[1]))


def _sign_color(draw: float) -> Color:
    return ((0.5, 0.02, 0.02), (0.02, 0.08, 0.4), (0.6, 0.5, 0.05))[int(draw * 3)]


def _plant_tree(street: Street, point: Float[np.ndarray, "2"], draws: Float[np.ndarray, " D"]) -> None:
    height = 0.75 + 0.55 * draws[0]
    width = height * (0.8 + 0.35 * draws[1])
    green = 0.7 + 0.6 * draws[2]
    color = (0.085 * green * (1 + 0.5 * draws[3]), 0.17 * green, 0.045 * green)
    detail = 2 if street.near(point, 30.0) else 1 if street.near(point, 70.0) else 0
    shape = int(draws[4] * scenery.TREE_SHAPES)
    conifer = draws[5] < street.network.town.conifers
    mesh = scenery.conifer() if conifer else scenery.broadleaf_tree(shape, detail)
    number = street.objects.add("vegetation", color, seed=int(draws[0] * 1e6))
    position = (*point, KERB_M)
    turn = 6.28 * float(draws[2])
    street.meshes.append(place(mesh, position, yaw_rad=turn, scale=(width, width, height), object_id=number))


def _place(
    street: Street, mesh: Mesh, point: Float[np.ndarray, "2"], yaw_rad: float, kind: str, color: Color
) -> None:
    number = street.objects.add(kind, color)
    street.meshes.append(place(mesh, (*point, KERB_M), yaw_rad=yaw_rad, object_id=number))


def _fill_lot(street: Street, lot: Lot) -> None:
    if lot.kind == "house":
        _build_house(street, lot)
    if not street.near(lot.center, STREET_M + 15.0):
        return
    if lot.kind == "car_park":
        _fill_car_park(street, lot)
    elif lot.kind == "park":
        town_rng = np.random.default_rng(lot.seed)
        for _ in range(6):
            _plant_tree(street, lot.corner(*town_rng.uniform(-0.45, 0.45, 2)), town_rng.random(6))
    elif lot.kind == "yard":
        _fill_yard(street, lot)
    if lot.kind == "house" and lot.setback_m > 1.6:
        _front_garden(street, lot)


def _build_house(street: Street, lot: Lot) -> None:
    town_rng = np.random.default_rng(lot.seed)
    mesh = scenery.building_mesh(*lot.size_m, lot.height_m, gabled=lot.gabled)
    shop = float(lot.setback_m < 2.0)
    trim: Color = ((0.6, 0.58, 0.52), (0.12, 0.13, 0.14), (0.55, 0.3, 0.2))[town_rng.integers(3)]
    parameters = (lot.facade, 3.1, float(town_rng.uniform(2.1, 3.6)), float(town_rng.uniform(0.4, 0.62)),
                  float(town_rng.uniform(0.42, 0.58)), shop, lot.height_m)  # fmt: skip
    number = street.objects.add("building", lot.color, trim, parameters, seed=lot.seed % 100_003)
    position = (*lot.center, KERB_M - 0.05)
    street.meshes.append(place(mesh, position, yaw_rad=lot.yaw_rad, object_id=number))


def _front_garden(street: Street, lot: Lot) -> None:
    """A hedge, wall or fence along the front of a lot, with a gate in the middle."""
    town_rng = np.random.default_rng((lot.seed, 5))
    kind = town_rng.integers(4)
    length = lot.size_m[0] / 2 - 1.2
    if kind == 3 or length < 2:
        return
    make = (scenery.hedge, scenery.wall, scenery.fence)[kind]
    mesh = make(length, float(town_rng.uniform(0.8, 1.5)))
    color: Color = ((0.07, 0.14, 0.04), lot.color, (0.6, 0.6, 0.57))[kind]
    number = street.objects.add("vegetation" if kind == 0 else "clutter", color, color)
    front = -0.5 - (lot.setback_m - 0.5) / lot.size_m[1]
    for along in (-0.5, 0.5 - length / lot.size_m[0]):
        position = (*lot.corner(along, front), KERB_M - 0.03)
        street.meshes.append(place(mesh, position, yaw_rad=lot.yaw_rad, object_id=number))


def _fill_yard(street: Street, lot: Lot) -> None:
    """A storage yard: clutter with a few vehicles among it."""
    corners = list(lot.points(CORNERS))
    number = street.objects.add("terrain")
    street.meshes.append(place(quad(corners, KERB_M - 0.01, Material.PAVING), (0, 0, 0), object_id=number))
    columns = int(lot.size_m[0] // 7.0)
    for column in range(columns):
        for row in range(2):
            if street.rng.random() < 0.25:
                continue
            point = lot.corner((column + 0.5) / columns - 0.5, (row - 0.5) * 0.5)
            yaw = lot.yaw_rad + street.rng.choice((0, math.pi / 2)) + street.rng.normal(0, 0.1)
            if street.rng.random() < 0.35:
                name = draw_kind(street.rng, driving=False, longest_m=6.5)
                add_vehicle(street, name, point, yaw, KERB_M)
            else:
                add_clutter(street, _draw_clutter(street.rng, "yard"), point, yaw, KERB_M)


def _fill_car_park(street: Street, lot: Lot) -> None:
    """Bays of 2.5 m along the front and the back of a car park, an aisle between them."""
    corners = list(lot.points(CORNERS))
    number = street.objects.add("terrain", parameters=(lot.size_m[0], lot.size_m[1]))
    street.meshes.append(place(quad(corners, KERB_M, Material.CAR_PARK), (0, 0, 0), object_id=number))
    bays = int(lot.size_m[0] // 2.5)
    full = street.rng.uniform(0.4, 0.95)
    for bay in range(bays):
        for row in (-1, 1):
            draw = street.rng.random()
            if draw > full:
                continue
            deep = row * (0.5 - 2.7 / lot.size_m[1])
            point = lot.corner((bay + 0.5) * 2.5 / lot.size_m[0] - 0.5, deep)
            yaw = lot.yaw_rad + row * math.pi / 2 + (math.pi if street.rng.random() < 0.3 else 0.0)
            if draw < 0.13:
                add_clutter(
                    street, _draw_clutter(street.rng, "yard"), point, lot.yaw_rad + math.pi / 2, KERB_M
                )
            else:
                add_vehicle(street, draw_kind(street.rng, driving=False, longest_m=5.4), point, yaw, KERB_M)


def add_traffic_lights(street: Street) -> None:
    """A light beside every stop line, on the side where traffic arrives."""
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
            number = street.objects.add("pole", (0.05, 0.05, 0.05), parameters=(junction.index, position))
            street.meshes.append(
                place(scenery.traffic_light(), (*point, KERB_M), yaw_rad=yaw, object_id=number)
            )


def finish(street: Street) -> Mesh:
    """All meshes as one."""
    return join(street.meshes)
