"""What stands on the lots: houses with their front gardens, yards, parks and car parks."""

import math

import numpy as np

from streetworld.layout.ground import KERB_M, quad
from streetworld.layout.street import STREET_M, Street, add_clutter, add_vehicle, draw_clutter, plant_tree
from streetworld.things import scenery
from streetworld.things.materials import Material
from streetworld.things.shapes import place
from streetworld.things.texture_parameters import CarParkParameters, FacadeParameters
from streetworld.things.vehicles import draw_kind
from streetworld.town.lots import Lot
from streetworld.town.towns import Color


def fill_lot(street: Street, lot: Lot) -> None:
    """Build on a lot, or fill it with what stands there."""
    if lot.kind == "house":
        _build_house(street, lot)
    if not street.near(lot.center, STREET_M + 15.0):
        return
    if lot.kind == "car_park":
        _fill_car_park(street, lot)
    elif lot.kind == "park":
        town_rng = np.random.default_rng(lot.seed)
        for _ in range(6):
            plant_tree(street, lot.corner(*town_rng.uniform(-0.45, 0.45, 2)), town_rng.random(6))
    elif lot.kind == "yard":
        _fill_yard(street, lot)
    if lot.kind == "house" and lot.setback_m > 1.6:
        _front_garden(street, lot)


def _build_house(street: Street, lot: Lot) -> None:
    """Put a house down on a lot."""
    town_rng = np.random.default_rng(lot.seed)
    mesh = scenery.building_mesh(*lot.size_m, lot.height_m, gabled=lot.gabled)
    shop = float(lot.setback_m < 2.0)
    trim: Color = ((0.6, 0.58, 0.52), (0.12, 0.13, 0.14), (0.55, 0.3, 0.2))[town_rng.integers(3)]
    parameters = FacadeParameters(
        style=float(lot.facade),
        storey_m=3.1,
        bay_m=float(town_rng.uniform(2.1, 3.6)),
        window_width=float(town_rng.uniform(0.4, 0.62)),
        window_height=float(town_rng.uniform(0.42, 0.58)),
        shop=shop,
        top_m=lot.height_m,
    )
    number = street.objects.add("building", lot.color, trim, parameters, seed=lot.seed % 100_003)
    position = (*lot.center, KERB_M - 0.05)
    street.meshes.append(place(mesh, position, yaw_rad=lot.yaw_rad, object_id=number))


def _front_garden(street: Street, lot: Lot) -> None:
    """Put a hedge, wall or fence along the front of a lot, with a gate in the middle."""
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
    """Fill a storage yard: clutter with a few vehicles among it."""
    corners = list(lot.corners)
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
                add_clutter(street, draw_clutter(street.rng, "yard"), point, yaw, KERB_M)


def _fill_car_park(street: Street, lot: Lot) -> None:
    """Fill the bays of a car park, 2.5 m wide along its front and back, an aisle between."""
    corners = list(lot.corners)
    number = street.objects.add("terrain", parameters=CarParkParameters(*lot.size_m))
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
                    street, draw_clutter(street.rng, "yard"), point, lot.yaw_rad + math.pi / 2, KERB_M
                )
            else:
                add_vehicle(street, draw_kind(street.rng, driving=False, longest_m=5.4), point, yaw, KERB_M)
