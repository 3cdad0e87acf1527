"""What shiny things and wet ground reflect.

Axes: `N` rays. Colours, normals and positions have their components first.
"""

import numpy as np
from jaxtyping import Bool, Float32

from streetworld.rendering.light import Light, dot, sky_radiance
from streetworld.rendering.pavement import rgb
from streetworld.rendering.surfaces import coat
from streetworld.rendering.textures import patches
from streetworld.rendering.tracer import Stage, Surface
from streetworld.things.materials import Material
from streetworld.things.objects import Appearance


def reflect_sky(
    lit: Float32[np.ndarray, "3 N"],
    normal: Float32[np.ndarray, "3 N"],
    directions: Float32[np.ndarray, "3 N"],
    gloss: Float32[np.ndarray, " N"],
    sunlit: Float32[np.ndarray, " N"],
    light: Light,
) -> Float32[np.ndarray, "3 N"]:
    """Blend in the sky, or a dull street below it, as a shiny surface reflects it."""
    along = (normal * directions).sum(axis=0)
    bounced = directions - 2 * along * normal
    share = gloss * (0.05 + 0.10 * gloss + 0.85 * np.clip(1 + along, 0, 1) ** 5)
    street = rgb(*light.horizon) * np.float32(0.38)
    around = street + np.clip((bounced[2] - 0.03) * 6, 0, 1) * (sky_radiance(bounced, light) - street)
    mixed = lit + share * (around - lit)
    if light.shadows:
        glint = np.clip(dot(light.to_sun, bounced), 0, 1) ** 160 * gloss * np.float32(1.6) * (sunlit > 0)
        mixed += glint * rgb(*light.sun)
    return mixed


def puddles_on(surface: Surface, ground: Bool[np.ndarray, " N"], light: Light) -> Float32[np.ndarray, " N"]:
    """Return how mirror-like the wet ground is."""
    x, y = surface.position[:2]
    deep = patches().look(x + 31, y + 17, 0.05, np.full(len(x), 0.05, np.float32))
    sealed = ground & ~np.isin(surface.material, (Material.GRASS, Material.MEDIAN))
    return (sealed * light.wet * np.clip(0.22 + (deep - 0.5) * 2.6, 0.10, 0.8)).astype(np.float32)


def reflect_street(
    lit: Float32[np.ndarray, "3 N"],
    stage: Stage,
    light: Light,
    appearance: Appearance,
    surface: Surface,
    puddles: Float32[np.ndarray, " N"],
) -> None:
    """Blend in what the wet ground mirrors, found by rays from it and shown without shadows."""
    rows = np.flatnonzero(puddles > 0.2)
    bounced = surface.direction[:, rows] * rgb(1.0, 1.0, -1.0)
    starts = (surface.position[:, rows] + rgb(0.0, 0.0, 0.02)).T
    hits, moves = stage.hit_from(starts, bounced.T, np.arange(len(rows)))
    mirrored = sky_radiance(bounced, light)
    if (hits.face >= 0).any():
        found, seen = stage.surface(hits, moves, starts, bounced.T)
        painted = coat(seen, np.full(len(found), 0.12, dtype=np.float32), appearance)
        bright = painted.albedo * (rgb(*light.horizon) * np.float32(light.ambient))
        mirrored[:, found] = bright + painted.emission * np.float32(0.1 + light.lamps)
    share = puddles[rows] * (0.04 + 0.96 * (1 - np.abs(bounced[2])) ** 5)
    lit[:, rows] += share * (mirrored - lit[:, rows])
