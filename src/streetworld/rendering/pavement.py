"""How the ground looks: asphalt with its markings, sidewalks, kerbs, grass and car parks.

Axes: `N` pixels. `Spot` is what a texture needs to know of the pixels it colours.
"""

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from jaxtyping import Float32, Int32

from streetworld.rendering.textures import cracks, grain, patches, scatter, stripe, stripes
from streetworld.things.objects import Appearance
from streetworld.things.texture_parameters import CarParkParameters, RoadParameters, columns
from streetworld.town.network import CROSSING_M, STOP_LINE_M

RGB = Float32[np.ndarray, "3 N"]


@dataclass(frozen=True)
class Spot:
    """Pixels of one material."""

    position: Float32[np.ndarray, "3 N"]
    """In the scene's frame, metres."""
    local: Float32[np.ndarray, "3 N"]
    normal: Float32[np.ndarray, "3 N"]
    footprint_m: Float32[np.ndarray, " N"]
    """Size of a pixel on the surface."""
    objects: Int32[np.ndarray, " N"]
    appearance: Appearance

    @cached_property
    def color(self) -> RGB:
        """First colour of the object."""
        return self.appearance.color.take(self.objects, axis=1)

    @cached_property
    def accent(self) -> RGB:
        """Second colour of the object."""
        return self.appearance.accent.take(self.objects, axis=1)

    @cached_property
    def parameters(self) -> Float32[np.ndarray, "12 N"]:
        """Numbers that describe the object's texture."""
        return self.appearance.parameters.take(self.objects, axis=1)

    @cached_property
    def seed(self) -> Int32[np.ndarray, " N"]:
        """What tells objects of one kind apart."""
        return self.appearance.seed.take(self.objects)


def rgb(*color: float) -> RGB:
    """Return a colour that broadcasts over pixels."""
    return np.array(color, dtype=np.float32)[:, None]


def tint(strength: Float32[np.ndarray, " N"], color: tuple[float, float, float]) -> RGB:
    """Return a colour of varying strength."""
    return strength * rgb(*color)


def paint_over(base: RGB, share: Float32[np.ndarray, " N"], color: RGB | tuple[float, float, float]) -> RGB:
    """Cover a share of every pixel with a colour."""
    over = rgb(*color) if isinstance(color, tuple) else color
    return base + share * (over - base)


def asphalt(spot: Spot) -> RGB:
    """Draw worn asphalt with cracks and repairs."""
    x, y, foot = spot.position[0], spot.position[1], spot.footprint_m
    rough = grain().look(x, y, 0.02, foot)
    stains = patches().look(x, y, 0.09, foot)
    torn = cracks().look(x, y, 0.035, foot)
    gray = 0.045 + 0.055 * rough + 0.055 * stains
    return tint(gray * (1 - 0.55 * torn), (1.0, 1.0, 1.03))


def road(spot: Spot) -> RGB:
    """Draw asphalt with lane marks, crossings and stop lines."""
    surface = asphalt(spot)
    along, across, foot = spot.local[0], spot.local[1], spot.footprint_m
    marked: RoadParameters[Float32[np.ndarray, " N"]] = columns(RoadParameters, spot.parameters)
    median, lane, length = marked.median_m, marked.lane_m, marked.length_m
    left = across > 0
    lanes = np.where(left, marked.lanes_left, marked.lanes_right)
    out = np.abs(across)
    edge = median / 2 + lanes * lane
    to_end = np.minimum(along, length - along)
    near_start = along < length / 2
    marks = np.where(near_start, marked.marks_start, marked.marks_end)
    crossing, stop = marks >= 2, (marks % 2) > 0.5
    open_road = np.where(marks > 0, to_end > STOP_LINE_M[1], True)

    tracks = np.cos((out - median / 2) / np.maximum(lane, 1) * 4 * np.pi)
    surface *= 1 + 0.05 * tracks * (out < edge)

    number = np.rint((out - median / 2) / lane)
    divider = stripe(out - median / 2 - number * lane, -0.065, 0.065, foot)
    dashes = np.where(to_end < 20, np.float32(1), stripes(along / 9, 0.0, 0.42, foot / 9))
    white = divider * dashes * ((number > 0.5) & (number < lanes - 0.5) & open_road)
    parked = np.where(left, marked.parking_left_m, marked.parking_right_m) > 0
    white = np.maximum(white, stripe(out - edge, -0.05, 0.05, foot) * (parked & open_road) * 0.9)
    planted = median > 1
    white = np.maximum(white, stripe(out - median / 2, -0.2, -0.08, foot) * (planted & open_road))
    zebra = (
        stripes(across, 0.0, 0.5, foot) * stripe(to_end, *CROSSING_M, foot) * (crossing & (out < edge + 0.6))
    )
    arriving = left == np.where(near_start, marked.along_side < 0, marked.along_side > 0)
    bar = stripe(to_end, *STOP_LINE_M, foot) * (stop & arriving & (out < edge) & (out > median / 2))
    white = np.maximum(np.maximum(white, zebra), bar)

    wear = 0.55 + 0.55 * patches().look(along, across, 0.03, foot)
    double = (lanes >= 2) | (marked.yellow_lines > 0.5)
    solid = stripe(out, 0.06, 0.17, foot)
    single = stripe(out, 0.0, 0.07, foot) * np.where(
        to_end < 18, np.float32(1), stripes(along / 6, 0.0, 0.5, foot / 6)
    )
    middle = np.where(double, solid, single) * (~planted & open_road)
    middle_color = np.where(marked.yellow_lines > 0.5, rgb(0.62, 0.42, 0.05), rgb(0.66, 0.66, 0.64))
    surface = paint_over(surface, middle * wear.clip(0, 1), middle_color)
    return paint_over(surface, white * wear.clip(0, 1), (0.66, 0.66, 0.64))


def sidewalk(spot: Spot) -> RGB:
    """Draw slabs with joints, a little different each."""
    x, y, foot = spot.local[0], spot.local[1], spot.footprint_m
    wide = np.where(spot.seed % 3 == 0, np.float32(0.6), np.float32(1.2))
    joint = np.maximum(stripes(x / wide, 0.0, 0.03, foot / wide), stripes(y / wide, 0.0, 0.03, foot / wide))
    slab = scatter(np.floor(x / wide), np.floor(y / wide), spot.seed)
    blend = np.clip(1.5 - foot / wide, 0, 1)
    rough = grain().look(spot.position[0], spot.position[1], 0.025, foot)
    stains = patches().look(spot.position[0], spot.position[1], 0.12, foot)
    tone = 0.22 + 0.08 * slab * blend + 0.10 * rough + 0.10 * stains
    warm = np.where(spot.seed % 4 == 1, rgb(1.0, 0.86, 0.76), rgb(1.0, 0.98, 0.94))
    return (tone * (1 - 0.4 * joint)) * warm


def kerb(spot: Spot) -> RGB:
    """Draw kerb stones of a metre."""
    foot = spot.footprint_m
    joint = stripes(spot.local[0], 0.0, 0.025, foot)
    rough = grain().look(spot.position[0], spot.position[1] + spot.position[2], 0.02, foot)
    return tint((0.30 + 0.16 * rough) * (1 - 0.35 * joint), (1.0, 0.99, 0.96))


def grass(spot: Spot) -> RGB:
    """Draw a lawn with bare and dry places."""
    x, y, foot = spot.position[0], spot.position[1], spot.footprint_m
    blades = grain().look(x, y, 0.018, foot)
    dry = np.clip(patches().look(x, y, 0.11, foot) * 2.2 - 0.75, 0, 1)
    green = tint(0.35 + 1.3 * blades, (0.075, 0.135, 0.03))
    straw = tint(0.5 + 0.9 * blades, (0.17, 0.14, 0.07))
    return green + dry * np.float32(0.6) * (straw - green)


def median(spot: Spot) -> RGB:
    """Draw a planted strip: grass with low flowers."""
    bloom = grain().look(spot.position[0], spot.position[1], 0.05, spot.footprint_m)
    return paint_over(grass(spot), np.clip(bloom * 5 - 3.3, 0, 1) * 0.7, (0.35, 0.16, 0.10))


def paving(spot: Spot) -> RGB:
    """Draw gravel and mud of a storage yard."""
    x, y, foot = spot.position[0], spot.position[1], spot.footprint_m
    stones = grain().look(x, y, 0.022, foot)
    mud = patches().look(x, y, 0.07, foot)
    return tint(0.10 + 0.14 * stones + 0.10 * mud, (1.0, 0.93, 0.82))


def car_park(spot: Spot) -> RGB:
    """Draw asphalt with bays of 2.5 m along the front and the back."""
    surface = asphalt(spot) * np.float32(1.25)
    x, y, foot = spot.local[0], spot.local[1], spot.footprint_m
    deep = np.minimum(y, columns(CarParkParameters, spot.parameters).depth_m - y)
    lines = stripes(x / 2.5 + 0.02, 0.0, 0.045, foot / 2.5) * stripe(deep, 0.3, 5.1, foot)
    wear = np.clip(0.5 + 0.6 * patches().look(x, y, 0.03, foot), 0, 1)
    return paint_over(surface, lines * wear, (0.62, 0.62, 0.60))
