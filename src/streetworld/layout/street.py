"""A street under construction: putting single things down, labelled or not."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from streetworld.layout.ground import KERB_M
from streetworld.things import scenery
from streetworld.things.clutter import CLUTTER
from streetworld.things.objects import Annotation, ObjectList
from streetworld.things.shapes import Mesh, place
from streetworld.things.vehicles import VEHICLES, draw_paint, draw_scale
from streetworld.town.lots import TownPlan, near_route
from streetworld.town.network import Network
from streetworld.town.towns import Color

STREET_M = 100.0
"""How far from the route small things are placed."""
SKYLINE_M = 170.0
"""How far from the route houses and roads are placed."""

CLUTTER_COLORS: tuple[Color, ...] = (
    (0.05, 0.22, 0.10),
    (0.45, 0.28, 0.03),
    (0.35, 0.05, 0.03),
    (0.04, 0.12, 0.30),
    (0.5, 0.5, 0.48),
    (0.18, 0.18, 0.19),
    (0.32, 0.14, 0.05),
)


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
        """Tell whether a point lies within reach of the route."""
        return bool(near_route(point[None], self.route, reach_m)[0])


def add_vehicle(
    street: Street, name: str, point: Float[np.ndarray, "2"], yaw_rad: float, height_m: float
) -> None:
    """Put a parked vehicle down."""
    kind = VEHICLES[name]
    scale = draw_scale(street.rng, kind.varies)
    mesh = kind.make()
    number = street.objects.add(
        "vehicle", draw_paint(street.rng), draw_paint(street.rng), kind.paint, len(street.objects)
    )
    attribute = "cycle.without_rider" if kind.cycle else "vehicle.parked"
    put_labelled(street, number, mesh, scale, kind.category, (*point, height_m, yaw_rad), attribute)


def add_clutter(
    street: Street, name: str, point: Float[np.ndarray, "2"], yaw_rad: float, height_m: float
) -> None:
    """Put a thing down that is not a vehicle."""
    kind = CLUTTER[name]
    scale = draw_scale(street.rng, 0.12)
    colors = [draw_paint(street.rng), CLUTTER_COLORS[street.rng.integers(len(CLUTTER_COLORS))]]
    street.rng.shuffle(colors)
    number = street.objects.add("clutter", colors[0], colors[1], seed=len(street.objects))
    pose = (*point, height_m, yaw_rad)
    if kind.category is None:
        street.meshes.append(place(kind.make(), pose[:3], yaw_rad=yaw_rad, scale=scale, object_id=number))
    else:
        put_labelled(street, number, kind.make(), scale, kind.category, pose, None)


def put_labelled(
    street: Street,
    number: int,
    mesh: Mesh,
    scale: tuple[float, float, float],
    category: str,
    pose: tuple[float, float, float, float],
    attribute: str | None,
) -> None:
    """Put down something that gets a box."""
    street.meshes.append(place(mesh, pose[:3], yaw_rad=pose[3], scale=scale, object_id=number))
    street.objects.annotations[number] = annotation_of(mesh, scale, category, attribute)
    street.objects.poses[number] = pose


def annotation_of(
    mesh: Mesh, scale: tuple[float, float, float], category: str, attribute: str | None
) -> Annotation:
    """Return the box that just holds a scaled template."""
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


def draw_clutter(rng: np.random.Generator, zone: str) -> str:
    """Draw a kind of clutter that may stand in a zone."""
    names = [name for name, kind in CLUTTER.items() if zone in kind.zones]
    shares = np.array([CLUTTER[name].share for name in names])
    return names[rng.choice(len(names), p=shares / shares.sum())]


def plant_tree(street: Street, point: Float[np.ndarray, "2"], draws: Float[np.ndarray, " D"]) -> None:
    """Plant a tree; six draws in 0-1 say which."""
    height = 0.75 + 0.55 * draws[0]
    width = height * (0.8 + 0.35 * draws[1])
    green = 0.7 + 0.6 * draws[2]
    color = (0.085 * green * (1 + 0.5 * draws[3]), 0.17 * green, 0.045 * green)
    detail = 2 if street.near(point, 25.0) else 1 if street.near(point, 55.0) else 0
    shape = int(draws[4] * scenery.TREE_SHAPES)
    conifer = draws[5] < street.network.town.conifers
    mesh = scenery.conifer() if conifer else scenery.broadleaf_tree(shape, detail)
    number = street.objects.add("vegetation", color, seed=int(draws[0] * 1e6))
    position = (*point, KERB_M)
    turn = 6.28 * float(draws[2])
    street.meshes.append(place(mesh, position, yaw_rad=turn, scale=(width, width, height), object_id=number))


def place_thing(
    street: Street, mesh: Mesh, point: Float[np.ndarray, "2"], yaw_rad: float, kind: str, color: Color
) -> None:
    """Put down something of one colour that gets no box."""
    number = street.objects.add(kind, color)
    street.meshes.append(place(mesh, (*point, KERB_M), yaw_rad=yaw_rad, object_id=number))
