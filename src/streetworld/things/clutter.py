"""Things of a vehicle's size and shape that are not vehicles, and small things of the street.

They get no box, or one of nuScenes' `movable_object` and `static_object` categories: on real streets geometry
alone does not say what a box is.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache

from streetworld.things.materials import Material
from streetworld.things.shapes import Mesh, box, cylinder, join, prism


@dataclass(frozen=True)
class ClutterKind:
    """A kind of thing that stands about."""

    make: Callable[[], Mesh]
    category: str | None = None
    """nuScenes category if it is annotated."""
    zones: tuple[str, ...] = ("yard",)
    """Where it may stand: `parking`, `verge`, `walk` (building side of the sidewalk), `yard`."""
    share: float = 1.0
    """How often it occurs among the kinds of a zone."""


@cache
def container() -> Mesh:
    """Build a shipping container of 6 m."""
    doors = [box((-3.02, side * 0.58, 1.3), (0.05, 1.1, 2.4), Material.METAL) for side in (1, -1)]
    posts = [
        box((x, y, 1.3), (0.14, 0.14, 2.6), Material.ACCENT) for x in (-2.96, 2.96) for y in (-1.17, 1.17)
    ]
    return join([box((0, 0, 1.3), (6.0, 2.4, 2.55), Material.CORRUGATED), *doors, *posts])


@cache
def kiosk() -> Mesh:
    """Build a newspaper kiosk of 3 m with a counter and a flat roof."""
    body = box((0, 0, 1.2), (3.0, 2.0, 2.4), Material.PLASTIC)
    counter = box((0, 1.08, 1.0), (2.4, 0.3, 0.08), Material.WOOD)
    opening = box((0, 1.01, 1.6), (2.3, 0.04, 0.95), Material.DARK)
    posters = [box((side * 1.51, 0, 1.3), (0.04, 1.5, 1.5), Material.POSTER) for side in (1, -1)]
    return join([body, counter, opening, *posters, box((0, 0.15, 2.5), (3.5, 2.6, 0.16), Material.ACCENT)])


@cache
def dumpster() -> Mesh:
    """Build a wheeled refuse container with a slanted lid."""
    outline = [(-0.9, 0.2), (-1.0, 1.15), (-0.7, 1.5), (0.9, 1.25), (1.0, 1.0), (0.9, 0.2)]
    lid = prism([(-1.02, 1.16), (-0.72, 1.56), (0.95, 1.3), (1.04, 1.08)], 1.0, Material.DARK)
    feet = [
        cylinder((x, y, 0), 0.1, 0.22, Material.RUBBER, sides=8) for x in (-0.7, 0.7) for y in (-0.7, 0.7)
    ]
    return join([prism(outline, 0.95, Material.PLASTIC), lid, *feet])


@cache
def skip() -> Mesh:
    """Build an open builder's skip with rubble."""
    outline = [(-1.9, 1.3), (-1.2, 0.05), (1.2, 0.05), (1.9, 1.3)]
    rubble = [
        box((x, y, 1.25), (0.8, 0.7, 0.5), Material.CONCRETE)
        for x, y in ((-0.7, 0.2), (0.4, -0.3), (0.9, 0.3))
    ]
    rim = [box((0, side * 0.9, 1.28), (3.8, 0.08, 0.1), Material.METAL) for side in (1, -1)]
    return join([prism(outline, 0.9, Material.PLASTIC), *rubble, *rim])


@cache
def bus_shelter() -> Mesh:
    """Build a bus shelter of 4 m: glass back and sides, a roof and a bench."""
    posts = [box((x, y, 1.2), (0.08, 0.08, 2.4), Material.METAL) for x in (-1.9, 1.9) for y in (-0.65, 0.65)]
    back = box((0, -0.65, 1.25), (3.8, 0.04, 1.9), Material.GLASS)
    poster = box((1.9, 0, 1.25), (0.06, 1.2, 1.8), Material.POSTER)
    bench = box((-0.3, -0.35, 0.5), (2.4, 0.4, 0.08), Material.WOOD)
    return join([*posts, back, poster, bench, box((0, 0, 2.46), (4.2, 1.7, 0.12), Material.ACCENT)])


@cache
def hedge_block() -> Mesh:
    """Build a clipped hedge of a car's size."""
    return join(
        [
            box((0, 0, 0.7), (4.0, 1.4, 1.4), Material.HEDGE),
            box((0.2, 0, 0.78), (3.2, 1.2, 1.5), Material.HEDGE),
        ]
    )


@cache
def planter() -> Mesh:
    """Build a concrete planter with bushes."""
    bushes = [box((x, 0, 0.95), (0.9, 0.75, 0.6), Material.HEDGE) for x in (-0.8, 0.15, 0.9)]
    return join([box((0, 0, 0.32), (2.8, 1.1, 0.64), Material.CONCRETE), *bushes])


@cache
def crates() -> Mesh:
    """Build a stack of wooden crates."""
    places = ((-1.0, -0.45, 0.45), (0.0, -0.4, 0.45), (1.0, -0.5, 0.45), (-0.9, 0.5, 0.45), (0.1, 0.5, 0.45),
              (-0.5, -0.4, 1.3), (0.5, -0.35, 1.3))  # fmt: skip
    return join([box((x, y, z), (0.92, 0.85, 0.86), Material.WOOD) for x, y, z in places])


@cache
def market_stall() -> Mesh:
    """Build a market stall with an awning."""
    posts = [box((x, y, 1.1), (0.06, 0.06, 2.2), Material.METAL) for x in (-1.5, 1.5) for y in (-0.9, 0.9)]
    awning = prism(
        [(-1.75, 2.15), (-1.75, 2.25), (0, 2.75), (1.75, 2.25), (1.75, 2.15)], 1.2, Material.STRIPES
    )
    goods = [box((x, 0.1, 1.02), (0.8, 1.2, 0.24), Material.ACCENT) for x in (-0.95, 0.0, 0.95)]
    return join([*posts, awning, box((0, 0, 0.46), (3.0, 1.5, 0.9), Material.WOOD), *goods])


@cache
def bricks() -> Mesh:
    """Build two pallets of building blocks."""
    piles = [box((x, 0, 0.72), (1.2, 1.1, 1.1), Material.CONCRETE) for x in (-0.75, 0.75)]
    return join([*piles, *[box((x, 0, 0.08), (1.25, 1.15, 0.16), Material.WOOD) for x in (-0.75, 0.75)]])


@cache
def site_office() -> Mesh:
    """Build a site office: a white cabin with windows, on blocks."""
    windows = [box((x, 0, 1.75), (0.9, 2.46, 0.8), Material.GLASS) for x in (-1.6, 1.5)]
    blocks = [box((x, 0, 0.15), (0.4, 2.2, 0.3), Material.CONCRETE) for x in (-2.0, 2.0)]
    return join([box((0, 0, 1.5), (5.4, 2.4, 2.4), Material.CARGO), *windows, *blocks])


@cache
def toilet() -> Mesh:
    """Build a portable toilet."""
    door = box((0.56, 0, 1.1), (0.03, 0.75, 1.8), Material.ACCENT)
    return join(
        [
            box((0, 0, 1.1), (1.1, 1.1, 2.2), Material.PLASTIC),
            door,
            box((0, 0, 2.25), (1.16, 1.16, 0.1), Material.CARGO),
        ]
    )


@cache
def cabinet() -> Mesh:
    """Build a grey cabinet for cables."""
    return join(
        [
            box((0, 0, 0.65), (1.2, 0.45, 1.3), Material.CONCRETE),
            box((0, 0, 1.33), (1.26, 0.5, 0.06), Material.METAL),
        ]
    )


@cache
def bench() -> Mesh:
    """Build a bench."""
    legs = [box((x, 0, 0.22), (0.08, 0.45, 0.44), Material.METAL) for x in (-0.75, 0.75)]
    return join(
        [
            *legs,
            box((0, 0, 0.46), (1.8, 0.45, 0.06), Material.WOOD),
            box((0, -0.22, 0.75), (1.8, 0.05, 0.4), Material.WOOD),
        ]
    )


@cache
def bins() -> Mesh:
    """Build three wheelie bins."""
    parts = []
    for x in (-0.75, 0.0, 0.75):
        parts += [
            box((x, 0, 0.52), (0.58, 0.68, 0.96), Material.PLASTIC),
            box((x, 0, 1.04), (0.62, 0.74, 0.08), Material.DARK),
        ]
    return join(parts)


@cache
def cone() -> Mesh:
    """Build a traffic cone."""
    ring = cylinder((0, 0, 0.32), 0.115, 0.14, Material.CARGO, top_radius_m=0.09, sides=8)
    tip = cylinder((0, 0, 0.03), 0.17, 0.7, Material.SIGN, top_radius_m=0.03, sides=8)
    return join([box((0, 0, 0.02), (0.4, 0.4, 0.04), Material.DARK), tip, ring])


@cache
def barrier() -> Mesh:
    """Build a road barrier with stripes."""
    feet = [box((0, y, 0.05), (0.6, 0.12, 0.1), Material.DARK) for y in (-0.8, 0.8)]
    return join(
        [
            *feet,
            box((0, 0, 0.75), (0.08, 2.0, 0.5), Material.STRIPES),
            box((0, 0, 0.4), (0.06, 1.7, 0.1), Material.METAL),
        ]
    )


@cache
def cart() -> Mesh:
    """Build a hand cart with a load."""
    tyres = [cylinder((0.1, y, 0.2), 0.2, 0.06, Material.RUBBER, axis="y", sides=10) for y in (-0.34, 0.28)]
    frame = box((0, 0, 0.35), (1.0, 0.6, 0.08), Material.METAL)
    handle = box((-0.6, 0, 0.75), (0.06, 0.5, 0.7), Material.METAL)
    return join([frame, box((0, 0, 0.65), (0.8, 0.5, 0.5), Material.WOOD), *tyres, handle])


CLUTTER: dict[str, ClutterKind] = {
    "container": ClutterKind(container, zones=("parking", "yard"), share=1.3),
    "kiosk": ClutterKind(kiosk, zones=("walk",)),
    "dumpster": ClutterKind(dumpster, zones=("parking", "walk", "yard"), share=1.4),
    "skip": ClutterKind(skip, zones=("parking", "yard"), share=1.3),
    "bus_shelter": ClutterKind(bus_shelter, zones=("walk",)),
    "hedge_block": ClutterKind(hedge_block, zones=("yard", "verge"), share=1.4),
    "planter": ClutterKind(planter, zones=("verge", "walk", "parking"), share=1.2),
    "crates": ClutterKind(crates, zones=("parking", "yard", "walk"), share=1.0),
    "market_stall": ClutterKind(market_stall, zones=("walk", "parking"), share=0.8),
    "bricks": ClutterKind(bricks, zones=("parking", "yard"), share=0.8),
    "site_office": ClutterKind(site_office, zones=("parking", "yard"), share=0.8),
    "toilet": ClutterKind(toilet, zones=("yard", "walk"), share=0.5),
    "cabinet": ClutterKind(cabinet, zones=("walk", "verge"), share=0.8),
    "bench": ClutterKind(bench, zones=("walk", "verge"), share=0.6),
    "bins": ClutterKind(bins, zones=("walk", "yard"), share=0.6),
    "cone": ClutterKind(cone, "movable_object.trafficcone", zones=("parking",), share=0.4),
    "barrier": ClutterKind(barrier, "movable_object.barrier", zones=("parking", "verge"), share=0.5),
    "cart": ClutterKind(cart, "movable_object.pushable_pullable", zones=("walk",), share=0.3),
}
"""Kinds of clutter by name."""
