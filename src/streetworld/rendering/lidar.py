"""A spinning LiDAR with 32 beams, like the one of nuScenes.

A sweep is taken at one instant, its time stamp: neither the ego vehicle's nor other motion smears it. Axes:
`P` points, `N` rays. The LiDAR frame has x to the right, y forward and z up.
"""

from dataclasses import dataclass
from functools import cache

import numpy as np
from jaxtyping import Float, Float32, Int, Int32

from streetworld.rendering.light import Light
from streetworld.rendering.sensors import turn
from streetworld.rendering.surfaces import coat
from streetworld.rendering.tracer import Stage
from streetworld.things.materials import GROUND_CLASS_TABLE, Material
from streetworld.things.objects import Appearance

BEAMS = 32
STEPS = 1084
"""Firings in one revolution."""
LOWEST_DEG, HIGHEST_DEG = -30.67, 10.67
RANGE_M = (0.9, 95.0)
RANGE_NOISE_M = 0.018


@dataclass(frozen=True)
class Sweep:
    """One revolution."""

    points: Float32[np.ndarray, "P 5"]
    """x, y, z in the LiDAR frame in metres, intensity 0-255, ring 0-31 from below."""
    object_id: Int32[np.ndarray, " P"]
    """Object each point lies on; -1 for the ego vehicle itself."""


def take_sweep(
    stage: Stage,
    appearance: Appearance,
    light: Light,
    scene_from_lidar: Float[np.ndarray, "4 4"],
    rng: np.random.Generator,
    *,
    on_roof: bool = True,
) -> Sweep:
    """Scan a scene once. A LiDAR on the roof sees that, too."""
    directions, ring = beam_directions()
    origin = scene_from_lidar[:3, 3].astype(np.float32)
    turned = turn(directions, scene_from_lidar)
    hits, moves = stage.hit(origin, turned)
    noise = rng.normal(0, RANGE_NOISE_M, len(ring))
    luck = rng.random(len(ring))
    hits.face[(hits.distance_m < RANGE_M[0]) | (hits.distance_m > RANGE_M[1])] = -1
    rows, surface = stage.surface(hits, moves & (hits.face >= 0), origin[None], turned)
    distance = hits.distance_m[rows]
    facing = np.maximum(-(surface.normal * surface.direction).sum(axis=0), 0.03)
    footprint = distance * np.float32(0.003) / np.sqrt(facing)
    painted = coat(surface, footprint, appearance)
    bright = painted.albedo.mean(axis=0)
    shiny = np.isin(surface.material, (Material.PLATE, Material.SIGN, Material.LAMP_RED, Material.STRIPES))
    wet = light.wet * (GROUND_CLASS_TABLE[surface.material] > 0)
    lost = _loss(distance, facing, bright, surface.material == Material.GLASS, wet.astype(np.float32), light)
    kept = luck[rows] > lost
    strength = np.where(shiny, 160 + 90 * facing, 110 * bright**0.8 * np.sqrt(facing) * (1 - 0.6 * wet))
    measured = distance + noise[rows].astype(np.float32)
    local = directions[rows] * measured[:, None]
    points = np.column_stack((local, np.clip(np.rint(strength), 0, 255), ring[rows]))
    own, own_rows = _own_roof(directions, ring, rng)
    if not on_roof:
        own, own_rows = own[:0], own_rows[:0]
    firing = np.concatenate((rows[kept], own_rows))
    order = np.argsort(firing, kind="stable")
    objects = np.concatenate((surface.object_id[kept], np.full(len(own), -1, dtype=np.int32)))
    return Sweep(np.concatenate((points[kept], own))[order].astype(np.float32), objects[order])


@cache
def beam_directions() -> tuple[Float32[np.ndarray, "N 3"], Int32[np.ndarray, " N"]]:
    """Return the unit directions in the LiDAR frame in firing order, and their rings.

    It turns clockwise and fires all beams at once.
    """
    height = np.radians(np.linspace(LOWEST_DEG, HIGHEST_DEG, BEAMS))
    around = -np.arange(STEPS) * 2 * np.pi / STEPS
    yaw, lift = np.meshgrid(around, height, indexing="ij")
    directions = np.stack((np.cos(lift) * np.cos(yaw), np.cos(lift) * np.sin(yaw), np.sin(lift)), axis=-1)
    ring = np.tile(np.arange(BEAMS, dtype=np.int32), STEPS)
    return directions.reshape(-1, 3).astype(np.float32), ring


def _loss(
    distance: Float32[np.ndarray, " P"],
    facing: Float32[np.ndarray, " P"],
    bright: Float32[np.ndarray, " P"],
    glass: np.ndarray,
    wet: Float32[np.ndarray, " P"],
    light: Light,
) -> Float32[np.ndarray, " P"]:
    """Return the chance that a ray is lost: far, dark, glassy, wet and grazing, or in fog."""
    far = np.clip((distance - 35) / 75, 0, 1) ** 1.5
    dark = np.clip(0.07 - bright, 0, 0.07) * 5
    fog = 1 - np.exp(-np.maximum(distance - 4, 0) / (2.2 * light.fog_m))
    mirror = wet * np.clip(1 - facing * 3, 0, 0.85)
    kept = (1 - 0.012) * (1 - 0.8 * far) * (1 - dark) * (1 - fog) * (1 - mirror) * np.where(glass, 0.25, 1.0)
    return (1 - kept).astype(np.float32)


def _own_roof(
    directions: Float32[np.ndarray, "N 3"], ring: Int32[np.ndarray, " N"], rng: np.random.Generator
) -> tuple[Float[np.ndarray, "P 5"], Int[np.ndarray, " P"]]:
    """Return the points on the ego vehicle's own roof, as in real recordings, and which rays they are."""
    sideways = np.abs(directions[:, 0]) > 0.78 * np.hypot(directions[:, 0], directions[:, 1])
    rows = np.flatnonzero((ring < 3) & sideways)
    reach = np.clip(0.30 / -directions[rows, 2], 0.5, 0.85) + rng.normal(0, 0.01, len(rows))
    return np.column_stack((directions[rows] * reach[:, None], np.full(len(rows), 12.0), ring[rows])), rows
