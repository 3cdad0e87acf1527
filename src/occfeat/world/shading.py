"""Light on surfaces: sun and shadow, sky, reflections, lamps at night, fog.

Axes: `N` rays.
"""

import math
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float, Float32, Int32, UInt8

from occfeat.world.light import Light, sky_radiance
from occfeat.world.materials import GROUND_CLASS_TABLE, Material
from occfeat.world.objects import Appearance
from occfeat.world.surfaces import Coat, coat
from occfeat.world.textures import patches
from occfeat.world.tracer import Hits, Stage, Surface

LAMP_COLOR = np.array((1.0, 0.72, 0.42), dtype=np.float32)
HEADLIGHT_COLOR = np.array((1.0, 0.95, 0.85), dtype=np.float32)


@dataclass(frozen=True)
class GroundMap:
    """Values on a regular grid over the ground, constant beyond its border."""

    lower_m: Float[np.ndarray, "2"]
    step_m: float
    values: Float32[np.ndarray, "X Y"]

    def look(self, position: Float32[np.ndarray, "N 3"]) -> Float32[np.ndarray, " N"]:
        """Values below or above points, interpolated."""
        place = [(position[:, axis] - self.lower_m[axis]) / self.step_m - 0.5 for axis in (0, 1)]
        low = [
            np.clip(p, 0, size - 1.001).astype(np.int32)
            for p, size in zip(place, self.values.shape, strict=True)
        ]
        x, y = (np.clip(p - i, 0, 1).astype(np.float32) for p, i in zip(place, low, strict=True))
        width = self.values.shape[1]
        flat, index = self.values.ravel(), low[0] * width + low[1]
        near = flat.take(index) * (1 - y) + flat.take(index + 1) * y
        far = flat.take(index + width) * (1 - y) + flat.take(index + width + 1) * y
        return near * (1 - x) + far * x


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

    radiance: Float32[np.ndarray, "N 3"]
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
    """Radiance along rays from one point; `pixel_rad` is the angle a pixel spans."""
    light = lighting.light
    hits, moves = stage.hit(origin, directions)
    origins = np.broadcast_to(origin, directions.shape)
    rows = np.flatnonzero(hits.face >= 0).astype(np.int32)
    radiance = np.empty((len(directions), 3), dtype=np.float32)
    sky = hits.face < 0
    radiance[sky] = sky_radiance(directions[sky], light)
    class_id = np.zeros(len(directions), dtype=np.uint8)
    object_id = np.full(len(directions), -1, dtype=np.int32)
    crease = np.full(len(directions), -1, dtype=np.int32)
    if len(rows):
        surface = stage.surface(hits, moves, rows, origins, directions)
        seen = directions[rows]
        facing = np.maximum(-np.einsum("ij,ij->i", surface.normal, seen), 0.02)
        footprint = hits.distance_m[rows] * np.float32(pixel_rad) / np.sqrt(facing)
        painted = coat(
            surface.position,
            surface.normal,
            surface.local,
            surface.material,
            surface.object_id,
            footprint,
            appearance,
        )
        lit = _light_up(stage, lighting, appearance, surface, painted, seen)
        clear = np.exp(-hits.distance_m[rows] / np.float32(light.fog_m))[:, None]
        radiance[rows] = lit * clear + np.array(light.horizon, np.float32) * (1 - clear)
        class_id[rows] = classes_of(surface, appearance)
        object_id[rows] = surface.object_id
        crease[rows] = _creases(surface)
    return Image(radiance, hits.distance_m, class_id, object_id, crease)


def classes_of(surface: Surface, appearance: Appearance) -> UInt8[np.ndarray, " N"]:
    """Class of `materials.CLASSES` at every point."""
    ground = GROUND_CLASS_TABLE[surface.material]
    return np.where(ground > 0, ground, appearance.class_id[surface.object_id])


def _creases(surface: Surface) -> Int32[np.ndarray, " N"]:
    steps = np.rint(surface.normal * 2).astype(np.int32) + 3
    facing = steps[:, 0] * 49 + steps[:, 1] * 7 + steps[:, 2]
    return (surface.object_id * 64 + surface.material) * 343 + facing


def _light_up(
    stage: Stage,
    lighting: Lighting,
    appearance: Appearance,
    surface: Surface,
    painted: Coat,
    directions: Float32[np.ndarray, "N 3"],
) -> Float32[np.ndarray, "N 3"]:
    light = lighting.light
    albedo, gloss = painted.albedo, painted.gloss
    ground = GROUND_CLASS_TABLE[surface.material] > 0
    puddles = _puddles(surface, ground, light) if light.wet else None
    if puddles is not None:
        albedo = albedo * (1 - 0.45 * light.wet * ground)[:, None]
    incoming = _ambient(lighting, surface, ground)
    sunlit = _sunlit(stage, light, surface)
    incoming += sunlit[:, None] * np.array(light.sun, np.float32)
    if light.lamps > 0.2:
        incoming += _lamp_light(lighting, surface)
    lit = albedo * incoming
    shiny = np.flatnonzero(gloss > 0.05)
    lit[shiny] = _mirror(
        lit[shiny], surface.normal[shiny], directions[shiny], gloss[shiny], sunlit[shiny], light
    )
    if puddles is not None:
        _wet_mirror(lit, stage, lighting, appearance, surface, directions, puddles)
    return lit + painted.emission * np.float32(0.10 + light.lamps)


def _ambient(
    lighting: Lighting, surface: Surface, ground: Bool[np.ndarray, " N"]
) -> Float32[np.ndarray, "N 3"]:
    """Light of the sky from above and of the ground from below, less what stands close."""
    light = lighting.light
    sky = np.array(light.zenith, np.float32) * 0.5 + np.array(light.horizon, np.float32) * 0.5
    up = (0.5 + 0.5 * surface.normal[:, 2])[:, None]
    strength = np.float32(1.45 * light.ambient)
    incoming = sky * strength * (up + (1 - up) * np.float32(0.32))
    open_sky = np.clip(0.62 + 0.25 * surface.position[:, 2], 0.0, 1.0)
    open_sky = np.where(ground, lighting.contact.look(surface.position), open_sky)
    shade_below = np.flatnonzero(ground)
    open_sky[shade_below] *= _shade_below_movers(lighting.boxes, surface.position[shade_below])
    return incoming * open_sky[:, None].astype(np.float32)


def _shade_below_movers(
    boxes: Float[np.ndarray, "M 5"], position: Float32[np.ndarray, "N 3"]
) -> Float32[np.ndarray, " N"]:
    open_sky = np.ones(len(position), dtype=np.float32)
    for x, y, yaw, half_length, half_width in boxes:
        dx, dy = position[:, 0] - np.float32(x), position[:, 1] - np.float32(y)
        near = np.flatnonzero(np.abs(dx) + np.abs(dy) < half_length + half_width + 1.5)
        along = np.abs(dx[near] * math.cos(yaw) + dy[near] * math.sin(yaw)) - half_length
        across = np.abs(dy[near] * math.cos(yaw) - dx[near] * math.sin(yaw)) - half_width
        outside = np.maximum(along, across)
        open_sky[near] *= np.clip(0.62 + outside * 0.9, 0.22, 1.0).astype(np.float32)
    return open_sky


def _sunlit(stage: Stage, light: Light, surface: Surface) -> Float32[np.ndarray, " N"]:
    """Cosine of the sun's angle where it reaches the surface, 0 in shadow."""
    cosine = np.clip(surface.normal @ light.to_sun, 0, 1)
    if light.shadows:
        rows = np.flatnonzero(cosine > 0)
        starts = surface.position[rows] + surface.normal[rows] * np.float32(0.02)
        toward = np.broadcast_to(light.to_sun, (len(rows), 3))
        cosine[rows[stage.blocked(starts, toward)]] = 0
    return cosine


def _lamp_light(lighting: Lighting, surface: Surface) -> Float32[np.ndarray, "N 3"]:
    """Street lamps from a map of the ground, and headlights as cones without shadows."""
    strength = np.float32(lighting.light.lamps)
    position = surface.position
    facing = np.clip(surface.normal[:, 2] * 0.7 + 0.45, 0.12, 1)
    height = np.clip(1.3 - position[:, 2] / 8.0, 0.05, 1.2)
    incoming = (lighting.lamps.look(position) * facing * height * strength)[:, None] * LAMP_COLOR
    for x, y, yaw, power in lighting.headlights:
        dx, dy = position[:, 0] - np.float32(x), position[:, 1] - np.float32(y)
        along = dx * np.float32(math.cos(yaw)) + dy * np.float32(math.sin(yaw))
        rows = np.flatnonzero((along > 0.3) & (along < 45))
        across = dy[rows] * np.float32(math.cos(yaw)) - dx[rows] * np.float32(math.sin(yaw))
        ahead = along[rows]
        up = (position[rows, 2] - 0.65) / ahead
        cone = np.exp(-((across / (0.34 * ahead + 0.5)) ** 2) - (np.clip(up, 0, None) / 0.09) ** 2)
        toward = np.clip(
            -(
                surface.normal[rows, 0] * np.float32(math.cos(yaw))
                + surface.normal[rows, 1] * np.float32(math.sin(yaw))
            ),
            0,
            1,
        )
        received = np.maximum(toward, 0.9 * surface.normal[rows, 2] * np.clip(4.0 / ahead, 0, 1))
        shine = power * 26.0 * cone / (ahead * ahead + 45.0) * received
        incoming[rows] += (shine * strength)[:, None].astype(np.float32) * HEADLIGHT_COLOR
    return incoming


def _mirror(
    lit: Float32[np.ndarray, "N 3"],
    normal: Float32[np.ndarray, "N 3"],
    directions: Float32[np.ndarray, "N 3"],
    gloss: Float32[np.ndarray, " N"],
    sunlit: Float32[np.ndarray, " N"],
    light: Light,
) -> Float32[np.ndarray, "N 3"]:
    """Blend in the sky, or a dull street below it, as a shiny surface reflects it."""
    along = np.einsum("ij,ij->i", normal, directions)
    bounced = directions - 2 * along[:, None] * normal
    share = gloss * (0.05 + 0.10 * gloss + 0.85 * np.clip(1 + along, 0, 1) ** 5)
    around = sky_radiance(bounced, light)
    street = np.array(light.horizon, np.float32) * np.float32(0.38)
    high = np.clip((bounced[:, 2] - 0.03) * 6, 0, 1)[:, None]
    around = street + high * (around - street)
    mixed = lit + share[:, None] * (around - lit)
    if light.shadows:
        glint = np.clip(bounced @ light.to_sun, 0, 1) ** 160 * gloss * 1.6 * (sunlit > 0)
        mixed += glint[:, None].astype(np.float32) * np.array(light.sun, np.float32)
    return mixed


def _puddles(surface: Surface, ground: Bool[np.ndarray, " N"], light: Light) -> Float32[np.ndarray, " N"]:
    """How mirror-like the wet ground is."""
    x, y = surface.position[:, 0], surface.position[:, 1]
    deep = patches().look(x + 31, y + 17, 0.05, np.full(len(x), 0.05, np.float32))
    sealed = ground & (surface.material != Material.GRASS) & (surface.material != Material.MEDIAN)
    return (sealed * light.wet * np.clip(0.28 + (deep - 0.5) * 3.2, 0.12, 1.0)).astype(np.float32)


def _wet_mirror(
    lit: Float32[np.ndarray, "N 3"],
    stage: Stage,
    lighting: Lighting,
    appearance: Appearance,
    surface: Surface,
    directions: Float32[np.ndarray, "N 3"],
    puddles: Float32[np.ndarray, " N"],
) -> None:
    """Blend in what the wet ground mirrors, found by rays from it."""
    light = lighting.light
    rows = np.flatnonzero(puddles > 0.2)
    bounced = directions[rows] * np.array((1, 1, -1), np.float32)
    starts = surface.position[rows] + np.array((0, 0, 0.02), np.float32)
    hits, moves = stage.hit_from(starts, bounced, np.arange(len(rows), dtype=np.int32))
    mirrored = sky_radiance(bounced, light)
    found = np.flatnonzero(hits.face >= 0).astype(np.int32)
    if len(found):
        seen = _flat_look(stage, hits, moves, found, starts, bounced, appearance, light)
        mirrored[found] = seen
    share = puddles[rows] * (0.04 + 0.96 * (1 - np.abs(bounced[:, 2])) ** 5)
    lit[rows] += share[:, None] * (mirrored - lit[rows])


def _flat_look(
    stage: Stage,
    hits: Hits,
    moves: Bool[np.ndarray, " N"],
    rows: Int32[np.ndarray, " M"],
    starts: Float32[np.ndarray, "N 3"],
    directions: Float32[np.ndarray, "N 3"],
    appearance: Appearance,
    light: Light,
) -> Float32[np.ndarray, "M 3"]:
    """Surfaces as a mirror shows them: without shadows and fine texture."""
    surface = stage.surface(hits, moves, rows, starts, directions)
    footprint = np.full(len(rows), 0.12, dtype=np.float32)
    painted = coat(
        surface.position,
        surface.normal,
        surface.local,
        surface.material,
        surface.object_id,
        footprint,
        appearance,
    )
    sky = np.array(light.horizon, np.float32) * np.float32(light.ambient)
    return painted.albedo * sky + painted.emission * np.float32(0.1 + light.lamps)
