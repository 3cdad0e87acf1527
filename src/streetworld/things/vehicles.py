"""All kinds of vehicles and how often they are met."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache, partial

import numpy as np

from streetworld.things import cars, cycles, trucks
from streetworld.things.shapes import Mesh
from streetworld.things.texture_parameters import PaintParameters
from streetworld.town.towns import Color


@dataclass(frozen=True)
class VehicleKind:
    """A kind of vehicle."""

    make: Callable[[], Mesh]
    category: str
    """nuScenes category."""
    drives: float
    """How often it is met on lanes."""
    parks: float
    """How often it is met parked."""
    speed: float = 1.0
    """Its speed compared with cars."""
    varies: float = 0.05
    """Largest relative change of its length, width and height."""
    car: str = ""
    """Its name in `cars.CARS`, if it is there."""

    @property
    def paint(self) -> PaintParameters[float] | None:
        """The parameters of its paint; None for vehicles without doors."""
        return cars.paint_parameters(self.car) if self.car else None

    @property
    def cycle(self) -> bool:
        """Whether it is a bicycle or a motorcycle."""
        return self.category in ("vehicle.bicycle", "vehicle.motorcycle")


VEHICLES: dict[str, VehicleKind] = {
    "sedan": VehicleKind(partial(cars.car_mesh, "sedan"), "vehicle.car", 5.0, 5.0, car="sedan"),
    "hatchback": VehicleKind(partial(cars.car_mesh, "hatchback"), "vehicle.car", 4.0, 4.5, car="hatchback"),
    "wagon": VehicleKind(partial(cars.car_mesh, "wagon"), "vehicle.car", 2.0, 2.5, car="wagon"),
    "suv": VehicleKind(partial(cars.car_mesh, "suv"), "vehicle.car", 4.0, 4.0, car="suv"),
    "minivan": VehicleKind(partial(cars.car_mesh, "minivan"), "vehicle.car", 1.5, 1.5, car="minivan"),
    "van": VehicleKind(partial(cars.car_mesh, "van"), "vehicle.car", 1.5, 1.8, car="van"),
    "pickup": VehicleKind(partial(cars.car_mesh, "pickup"), "vehicle.truck", 1.2, 1.2, car="pickup"),
    "box_truck": VehicleKind(trucks.box_truck_mesh, "vehicle.truck", 1.2, 0.5, 0.85, 0.12),
    "flatbed": VehicleKind(trucks.flatbed_truck_mesh, "vehicle.truck", 0.6, 0.4, 0.85, 0.1),
    "tanker": VehicleKind(trucks.tanker_mesh, "vehicle.truck", 0.3, 0.05, 0.8),
    "bus": VehicleKind(trucks.bus_mesh, "vehicle.bus.rigid", 0.8, 0.0, 0.8, 0.03),
    "minibus": VehicleKind(trucks.coach_mesh, "vehicle.bus.rigid", 0.4, 0.3, 0.9),
    "caravan": VehicleKind(trucks.caravan_mesh, "vehicle.trailer", 0.0, 0.5),
    "excavator": VehicleKind(trucks.excavator_mesh, "vehicle.construction", 0.0, 0.25),
    "motorcycle": VehicleKind(
        partial(cycles.motorcycle_mesh, True), "vehicle.motorcycle", 0.9, 0.0, varies=0.03
    ),
    "bicycle": VehicleKind(partial(cycles.bicycle_mesh, True), "vehicle.bicycle", 0.9, 0.0, 0.4, 0.03),
    "parked_motorcycle": VehicleKind(
        partial(cycles.motorcycle_mesh, False), "vehicle.motorcycle", 0.0, 0.5, varies=0.03
    ),
    "parked_bicycle": VehicleKind(
        partial(cycles.bicycle_mesh, False), "vehicle.bicycle", 0.0, 0.5, varies=0.03
    ),
}
"""Kinds of vehicles by name."""

PAINTS: tuple[Color, ...] = (
    (0.55, 0.56, 0.57), (0.02, 0.02, 0.022), (0.75, 0.75, 0.74), (0.75, 0.75, 0.74), (0.16, 0.17, 0.18),
    (0.30, 0.02, 0.015), (0.02, 0.05, 0.20), (0.03, 0.09, 0.05), (0.35, 0.24, 0.10), (0.45, 0.10, 0.02),
    (0.10, 0.22, 0.35), (0.42, 0.38, 0.30), (0.55, 0.40, 0.03), (0.06, 0.02, 0.08),
)  # fmt: skip
"""Colours of vehicles, linear RGB."""


@cache
def _length_m(name: str) -> float:
    """Return the length of a kind of vehicle."""
    return float(np.ptp(VEHICLES[name].make().vertices[:, 0]))


def draw_kind(rng: np.random.Generator, *, driving: bool, longest_m: float = 99.0) -> str:
    """Draw a kind of vehicle, by how often it drives or parks, no longer than `longest_m`."""
    names = list(VEHICLES)
    weights = np.array([VEHICLES[name].drives if driving else VEHICLES[name].parks for name in names])
    fits = [_length_m(name) <= longest_m for name in names]
    weights = weights * fits
    return names[rng.choice(len(names), p=weights / weights.sum())]


def draw_paint(rng: np.random.Generator) -> Color:
    """Draw a colour for a vehicle or for clutter: both draw from the same ones."""
    base = np.array(PAINTS[rng.integers(len(PAINTS))]) * rng.uniform(0.8, 1.15)
    return float(base[0]), float(base[1]), float(base[2])


def draw_scale(rng: np.random.Generator, varies: float) -> tuple[float, float, float]:
    """Draw factors of length, width and height."""
    x, y, z = 1 + rng.uniform(-varies, varies, 3)
    return float(x), float(y), float(z)
