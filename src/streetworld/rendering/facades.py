"""How the walls of buildings look: windows, shops, bricks, panels and curtain walls.

Axes: `N` pixels.
"""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float32, Int32

from streetworld.rendering.pavement import RGB, Spot, paint_over, rgb
from streetworld.rendering.textures import patches, scatter, stripe, stripes
from streetworld.things.texture_parameters import FacadeParameters, columns


@dataclass(frozen=True)
class FacadeLook:
    """Walls with their windows."""

    albedo: RGB
    gloss: Float32[np.ndarray, " N"]
    emission: RGB


def facade(spot: Spot) -> FacadeLook:
    """Draw the walls of a building."""
    u, w, foot = spot.local[0], spot.local[2], spot.footprint_m
    numbers = columns(FacadeParameters, spot.parameters)
    parts, style = _parts(spot, numbers), numbers.style
    wall = spot.color * (0.82 + 0.36 * patches().look(u, w, 0.06, foot))
    for kind, pattern in ((0, bricks), (4, panels)):
        rows = np.flatnonzero(style == kind)
        wall[:, rows] *= pattern(u.take(rows), w.take(rows), foot.take(rows))
    band = stripe(w, 3.0, 3.3, foot) * (numbers.shop > 0.5)
    wall = paint_over(wall, np.maximum(band * 0.7, parts.frame), spot.accent)
    pane = 0.02 + 0.05 * scatter(parts.column, parts.storey, spot.seed)
    curtains = scatter(parts.column, parts.storey, spot.seed + 7) > 0.72
    glass = np.where(curtains, np.float32(0.25), pane) * rgb(0.85, 1.0, 1.15)
    panes = np.maximum(parts.window, parts.door)
    draw = scatter(parts.column, parts.storey, spot.seed + 1)
    lit = parts.window * (draw > 0.7) + parts.door * (draw > 0.45) * np.float32(0.55)
    glow = lit * np.where(draw > 0.85, rgb(0.30, 0.33, 0.36), rgb(0.40, 0.28, 0.13))
    return FacadeLook(paint_over(wall, panes, glass), panes * np.float32(0.8), glow)


def bricks(
    u_m: Float32[np.ndarray, " N"], w_m: Float32[np.ndarray, " N"], foot_m: Float32[np.ndarray, " N"]
) -> Float32[np.ndarray, " N"]:
    """Return the brightness of a brick wall at (along, up)."""
    row = np.floor(w_m / 0.12)
    shift = u_m / 0.26 + 0.5 * (row % 2)
    mortar = np.maximum(
        stripes(w_m / 0.12, 0.0, 0.14, foot_m / 0.12), stripes(shift, 0.0, 0.07, foot_m / 0.26)
    )
    each = scatter(np.floor(shift), row) * np.clip(1.4 - foot_m / 0.15, 0, 1)
    return 0.82 + 0.35 * each - 0.28 * mortar


def panels(
    u_m: Float32[np.ndarray, " N"], w_m: Float32[np.ndarray, " N"], foot_m: Float32[np.ndarray, " N"]
) -> Float32[np.ndarray, " N"]:
    """Return the brightness of a wall of panels with joints at (along, up)."""
    beside, above = stripes(u_m / 1.5, 0.0, 0.02, foot_m / 1.5), stripes(w_m / 3.1, 0.0, 0.012, foot_m / 3.1)
    return 1 - 0.35 * np.maximum(beside, above)


@dataclass(frozen=True)
class _Parts:
    """Share of each pixel covered by each part, and the numbers of the windows."""

    window: Float32[np.ndarray, " N"]
    frame: Float32[np.ndarray, " N"]
    door: Float32[np.ndarray, " N"]
    column: Int32[np.ndarray, " N"]
    storey: Int32[np.ndarray, " N"]


def _parts(spot: Spot, facade: FacadeParameters[Float32[np.ndarray, " N"]]) -> _Parts:
    """Find windows, frames and shop doors."""
    u, w, foot = spot.local[0], spot.local[2], spot.footprint_m
    ribbon, curtain = facade.style == 2, facade.style == 3
    wide = np.where(ribbon, np.float32(0.94), np.where(curtain, np.float32(0.93), facade.window_width))
    tall = np.where(curtain, np.float32(0.9), facade.window_height)
    across, up = u / facade.bay_m, w / facade.storey_m
    a, b = foot / facade.bay_m, foot / facade.storey_m
    ground_shop = (w < facade.storey_m) & (facade.shop > 0.5)
    low = 0.5 - tall / 2
    opening = stripes(across, 0.5 - wide / 2, 0.5 + wide / 2, a) * stripes(up, low, low + tall, b)
    usable = (~ground_shop) & (w < facade.top_m - 0.5)
    around = stripes(across, 0.47 - wide / 2, 0.53 + wide / 2, a) * stripes(
        up, low - 0.05, low + tall + 0.04, b
    )
    bar = opening * stripes(across, 0.485, 0.515, a)
    frame = np.clip(around - opening + bar, 0, 1) * usable
    door = ground_shop * stripes(across, 0.08, 0.92, a) * stripe(w, 0.15, 2.6, foot)
    column, number = np.floor(across).astype(np.int32), np.floor(up).astype(np.int32)
    return _Parts((opening - bar) * usable, frame, door, column, number)
