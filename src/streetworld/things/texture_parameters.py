"""Numbers that describe the textures of single objects, one kind of value for each kind of texture.

An object has one value of numbers. The shader reads the same fields as arrays, an entry per pixel.
"""

from dataclasses import dataclass, fields
from typing import Any, Generic, TypeVar

from jaxtyping import Float32
from numpy import ndarray

Number = TypeVar("Number")
Kind = TypeVar("Kind")

ROWS = 12
"""Rows of the array that holds the parameters of all objects; a kind has at most so many fields."""


@dataclass(frozen=True)
class FacadeParameters(Generic[Number]):
    """The walls of a building."""

    style: Number
    """0 bricks, 1 plaster, 2 ribbon windows, 3 a curtain wall, 4 panels."""
    storey_m: Number
    """Height of a storey."""
    bay_m: Number
    """Distance of windows."""
    window_width: Number
    """Share of a bay."""
    window_height: Number
    """Share of a storey."""
    shop: Number
    """1 if there is a shop on the ground floor, else 0."""
    top_m: Number
    """Height of the walls."""


@dataclass(frozen=True)
class RoadParameters(Generic[Number]):
    """The marks on a road; left and right as seen from its start."""

    lanes_left: Number
    lanes_right: Number
    lane_m: Number
    """Width of a lane."""
    median_m: Number
    """Width of the median."""
    parking_left_m: Number
    """Width of the parking strip, 0 if there is none."""
    parking_right_m: Number
    length_m: Number
    marks_start: Number
    """What is painted across the road at its start: 1 a stop line, 2 a crossing, 3 both."""
    marks_end: Number
    along_side: Number
    """Side that traffic along the road keeps to: 1 left, -1 right."""
    yellow_lines: Number
    """1 if the middle line is yellow, else 0."""


@dataclass(frozen=True)
class CarParkParameters(Generic[Number]):
    """The bays of a car park."""

    width_m: Number
    depth_m: Number


@dataclass(frozen=True)
class PaintParameters(Generic[Number]):
    """The paint of a car."""

    belt_m: Number
    """Height of the belt line, 0 for vehicles without doors."""
    gap_1_m: Number
    """Where a gap beside a door is along the car, like the next two."""
    gap_2_m: Number
    gap_3_m: Number


@dataclass(frozen=True)
class SignalParameters(Generic[Number]):
    """A traffic light."""

    junction: Number
    arm: Number
    """Number of the arm of the junction that the light stands at."""
    state: Number
    """0 red, 1 amber, 2 green."""


def columns(kind: type[Kind], parameters: Float32[ndarray, "12 *N"]) -> Kind:
    """Read the parameters of a kind of texture from an array with a row per field."""
    described: type[Any] = kind
    return kind(*parameters[: len(fields(described))])
