"""Light on surfaces: sun and shadow, sky, reflections, lamps at night, fog.

Axes: `N` rays. Colours, normals and positions have their components first.
"""

import math
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float, Float32, Int, Int32, UInt8

from streetworld.rendering.ground_maps import GroundMap
from streetworld.rendering.light import Light, dot, sky_radiance
from streetworld.rendering.pavement import rgb
from streetworld.rendering.reflections import puddles_on, reflect_sky, reflect_street
from streetworld.rendering.surfaces import Coat, coat
from streetworld.rendering.textures import leaves
from streetworld.rendering.tracer import Stage, Surface
from streetworld.things.materials import GROUND_CLASS_TABLE, Material
from streetworld.things.objects import Appearance

LAMP_COLOR = rgb(1.0, 0.72, 0.42)
HEADLIGHT_COLOR = rgb(1.0, 0.95, 0.85)
SOFT = (Material.LEAF, Material.SKIN, Material.CLOTH, Material.TROUSERS, Material.HAIR, Material.PAINT)
"""Materials of round things, whose facing changes without an edge."""
_IS_HARD = ~np.isin(np.arange(64), SOFT)
"""Whether a material, by its number, is not one of these."""


@dataclass(frozen=True)
class Lighting:
    """Everything that lights a scene at one moment."""

    light: Light
    contact: GroundMap
    """How much of the sky the ground below parked things sees, 0-1."""
    lamps: GroundMap
    """Light of the street lamps on the ground."""
    headlights: Float[np.ndarray, "L 4"]
    """(x, y, direction, strength) of headlights."""
    boxes: Float[np.ndarray, "M 5"]
    """(x, y, direction, half length, half width) of moving vehicles, for the shade below them."""


@dataclass(frozen=True)
class Image:
    """What a bundle of rays sees."""

    radiance: Float32[np.ndarray, "3 N"]
    distance_m: Float32[np.ndarray, " N"]
    class_id: UInt8[np.ndarray, " N"]
    object_id: Int32[np.ndarray, " N"]
    """-1 for the sky."""
    crease: Int32[np.ndarray, " N"]
    """Differs between neighbours where an edge lies between them."""


def shade(
    stage: Stage,
    lighting: Lighting,
    appearance: Appearance,
    origin: Float32[np.ndarray, "3"],
    directions: Float32[np.ndarray, "N 3"],
    pixel_rad: float,
) -> Image:
    """Return the radiance along rays from one point; `pixel_rad` is the angle a pixel spans."""
    light, count = lighting.light, len(directions)
    hits, moves = stage.hit(origin, directions)
    sky = np.flatnonzero(hits.face < 0)
    radiance = np.empty((3, count), dtype=np.float32)
    _put(radiance, sky, sky_radiance(directions.take(sky, axis=0).T.copy(), light))
    class_id = np.zeros(count, dtype=np.uint8)
    object_id, crease = (np.full(count, -1, dtype=np.int32) for _ in range(2))
    if len(sky) < count:
        rows, surface = stage.surface(hits, moves, origin[None], directions)
        distance = hits.distance_m.take(rows)
        facing = np.maximum(-(surface.normal * surface.direction).sum(axis=0), np.float32(0.02))
        footprint = distance * np.float32(pixel_rad) / np.sqrt(facing)
        painted = coat(surface, footprint, appearance)
        crease[rows] = _creases(surface)
        _ruffle(surface, footprint)
        lit = _light_up(stage, lighting, appearance, surface, painted)
        clear = np.exp(-distance / np.float32(light.fog_m))
        horizon = rgb(*light.horizon)
        _put(radiance, rows, horizon + clear * (lit - horizon))
        class_id[rows] = classes_of(surface, appearance)
        object_id[rows] = surface.object_id
    return Image(radiance, hits.distance_m, class_id, object_id, crease)


def _put(
    colors: Float32[np.ndarray, "3 N"], rows: Int[np.ndarray, " M"], values: Float32[np.ndarray, "3 M"]
) -> None:
    """Replace the colours of some rays, component by component: a third of the time of all at once."""
    for component, new in zip(colors, values, strict=True):
        component[rows] = new


def classes_of(surface: Surface, appearance: Appearance) -> UInt8[np.ndarray, " N"]:
    """Return the class of `materials.CLASSES` at every point."""
    ground = GROUND_CLASS_TABLE.take(surface.material)
    return np.where(ground > 0, ground, appearance.class_id.take(surface.object_id))


def _creases(surface: Surface) -> Int32[np.ndarray, " N"]:
    """Return a number for object, material and facing of every point; it changes at an edge."""
    steps = np.rint(surface.normal * 2).astype(np.int32) + 3
    facing = steps[0] * 49 + steps[1] * 7 + steps[2]
    facing *= _IS_HARD.take(surface.material)
    return (surface.object_id * 64 + surface.material) * 343 + facing


def _ruffle(surface: Surface, footprint_m: Float32[np.ndarray, " N"]) -> None:
    """Turn the normals of leaves every which way, so that crowns do not look like stones."""
    rows = np.flatnonzero((surface.material == Material.LEAF) | (surface.material == Material.HEDGE))
    if len(rows) == 0:
        return
    x, y, z = surface.local[:, rows]
    foot = footprint_m[rows]
    bumps = np.stack(
        [leaves().look(a, b, 0.02, foot) for a, b in ((x + z, y - z), (y + z, z - x), (z - y, x + y))]
    )
    normal = surface.normal[:, rows] + np.float32(2.0) * (bumps - np.float32(0.5))
    surface.normal[:, rows] = normal / np.maximum(np.sqrt((normal * normal).sum(axis=0)), 1e-6)


def _light_up(
    stage: Stage,
    lighting: Lighting,
    appearance: Appearance,
    surface: Surface,
    painted: Coat,
) -> Float32[np.ndarray, "3 N"]:
    """Return the light that surfaces send back along the rays."""
    light, albedo = lighting.light, painted.albedo
    ground = GROUND_CLASS_TABLE.take(surface.material) > 0
    incoming = _ambient(lighting, surface, ground)
    sunlit = _sunlit(stage, light, surface)
    incoming += sunlit * rgb(*light.sun)
    if light.lamps > 0.2:
        incoming += _lamp_light(lighting, surface)
    if light.wet:
        albedo = albedo * (1 - np.float32(0.45 * light.wet) * ground)
    lit = albedo * incoming
    shiny = np.flatnonzero(painted.gloss > 0.05)
    mirrored = reflect_sky(
        lit.take(shiny, axis=1),
        surface.normal.take(shiny, axis=1),
        surface.direction.take(shiny, axis=1),
        painted.gloss.take(shiny),
        sunlit.take(shiny),
        light,
    )
    _put(lit, shiny, mirrored)
    if light.wet:
        puddles = puddles_on(surface, ground, light)
        reflect_street(lit, stage, light, appearance, surface, puddles)
    return lit + painted.emission * np.float32(0.10 + light.lamps)


def _ambient(
    lighting: Lighting, surface: Surface, ground: Bool[np.ndarray, " N"]
) -> Float32[np.ndarray, "3 N"]:
    """Light of the sky from above and of the ground from below, less what stands close."""
    light = lighting.light
    sky = (rgb(*light.zenith) + rgb(*light.horizon)) * np.float32(0.5 * 1.45 * light.ambient)
    open_sky = np.clip(0.62 + 0.25 * surface.position[2], 0.0, 1.0)
    below = np.flatnonzero(ground)
    position = surface.position.take(below, axis=1)
    open_sky[below] = lighting.contact.look(position) * _shade_below_movers(lighting.boxes, position)
    return sky * ((0.66 + 0.34 * surface.normal[2]) * open_sky)


def _shade_below_movers(
    boxes: Float[np.ndarray, "M 5"], position: Float32[np.ndarray, "3 N"]
) -> Float32[np.ndarray, " N"]:
    """Return how open the sky is beside and below vehicles that move."""
    open_sky = np.ones(position.shape[1], dtype=np.float32)
    for x, y, yaw, half_length, half_width in boxes:
        dx, dy = position[0] - np.float32(x), position[1] - np.float32(y)
        near = np.flatnonzero(np.abs(dx) + np.abs(dy) < float(half_length + half_width + 1.5))
        if len(near) == 0:
            continue
        along = np.abs(dx[near] * math.cos(yaw) + dy[near] * math.sin(yaw)) - half_length
        across = np.abs(dy[near] * math.cos(yaw) - dx[near] * math.sin(yaw)) - half_width
        outside = np.maximum(along, across)
        open_sky[near] *= np.clip(0.62 + outside * 0.9, 0.22, 1.0).astype(np.float32)
    return open_sky


def _sunlit(stage: Stage, light: Light, surface: Surface) -> Float32[np.ndarray, " N"]:
    """Return the cosine of the sun's angle where it reaches the surface, 0 in shadow."""
    cosine = np.clip(dot(light.to_sun, surface.normal), 0, 1)
    if light.shadows:
        rows = np.flatnonzero(cosine > 0)
        starts = (
            surface.position.take(rows, axis=1) + surface.normal.take(rows, axis=1) * np.float32(0.02)
        ).T
        cosine[rows[stage.blocked(starts, np.broadcast_to(light.to_sun, (len(rows), 3)))]] = 0
    return cosine


def _lamp_light(lighting: Lighting, surface: Surface) -> Float32[np.ndarray, "3 N"]:
    """Return the light of street lamps, from a map, and of headlights, cones without shadows."""
    position, normal = surface.position, surface.normal
    facing = np.clip(normal[2] * 0.7 + 0.45, 0.12, 1)
    height = np.clip(1.3 - position[2] / 8.0, 0.05, 1.2)
    incoming = (lighting.lamps.look(position) * facing * height) * LAMP_COLOR
    for x, y, yaw, power in lighting.headlights:
        cosine, sine = np.float32(math.cos(yaw)), np.float32(math.sin(yaw))
        dx, dy = position[0] - np.float32(x), position[1] - np.float32(y)
        along = dx * cosine + dy * sine
        rows = np.flatnonzero((along > 0.3) & (along < 45))
        ahead, across = along[rows], dy[rows] * cosine - dx[rows] * sine
        up = (position[2, rows] - 0.65) / ahead
        cone = np.exp(-((across / (0.34 * ahead + 0.5)) ** 2) - (np.clip(up, 0, None) / 0.09) ** 2)
        toward = np.clip(-(normal[0, rows] * cosine + normal[1, rows] * sine), 0, 1)
        received = np.maximum(toward, 0.9 * normal[2, rows] * np.clip(4.0 / ahead, 0, 1))
        shine = np.float32(power * 26.0) * cone / (ahead * ahead + 45.0) * received
        incoming[:, rows] += shine * HEADLIGHT_COLOR
    return incoming * np.float32(lighting.light.lamps)
