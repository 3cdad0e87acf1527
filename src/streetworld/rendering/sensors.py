"""Cameras: rays through pixels, more of them at edges, exposure and noise.

Axes: `H W` image, `N` rays. Pixel centres lie at i + 0.5. `scene_from_camera` takes the camera frame (x
right, y down, z forward) to the scene's frame. Pixels that no light reaches through the lens are black.
"""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float, Float32, Int32, UInt8

from streetworld.optics import Optics
from streetworld.rendering.light import Light, dot, tone_map
from streetworld.rendering.shading import Image, Lighting, shade
from streetworld.rendering.tracer import Stage
from streetworld.things.objects import Appearance

EXTRA_RAYS_PX = ((0.30, -0.17), (-0.28, 0.25))
"""Where more rays are cast in pixels on an edge, from their middle."""
UNLIT = 255
"""Class of pixels that no light reaches through the lens."""


@dataclass(frozen=True)
class Shot:
    """A photograph with what is known of each of its pixels."""

    pixels: UInt8[np.ndarray, "H W 3"]
    depth_m: Float32[np.ndarray, "H W"]
    """Distance along the optical axis, of a fisheye from the camera; infinite for sky and unlit pixels."""
    class_id: UInt8[np.ndarray, "H W"]
    object_id: Int32[np.ndarray, "H W"]


def take_shot(
    stage: Stage,
    lighting: Lighting,
    appearance: Appearance,
    scene_from_camera: Float[np.ndarray, "4 4"],
    optics: Optics,
    rng: np.random.Generator,
) -> Shot:
    """Photograph a scene."""
    height, width = optics.size
    origin = scene_from_camera[:3, 3].astype(np.float32)
    straight, lit = optics.image_rays
    directions = turn(straight, scene_from_camera)
    seen = shade(stage, lighting, appearance, origin, directions, optics.pixel_rad)
    most = np.float32(3.5 / lighting.light.exposure)
    radiance = np.minimum(seen.radiance, most)
    edge = np.flatnonzero(_edges(seen, optics.size) & lit)
    middle = np.stack((edge % width, edge // width), axis=-1).astype(np.float32) + np.float32(0.5)
    inside = np.concatenate([middle + np.array(shift, dtype=np.float32) for shift in EXTRA_RAYS_PX])
    more = turn(optics.rays(inside)[0], scene_from_camera)
    extra = np.minimum(shade(stage, lighting, appearance, origin, more, optics.pixel_rad).radiance, most)
    radiance[:, edge] += extra.reshape(3, len(EXTRA_RAYS_PX), len(edge)).sum(axis=1)
    radiance[:, edge] /= 1 + len(EXTRA_RAYS_PX)
    lit = lit.reshape(height, width)
    object_id = np.where(lit, seen.object_id.reshape(height, width), np.int32(-1))
    along = np.float32(1) if optics.lens.is_fisheye else straight[:, 2]
    depth = (seen.distance_m * along).reshape(height, width)
    return Shot(
        _develop(radiance.reshape(3, height, width), lit, lighting.light, rng),
        np.where(object_id >= 0, depth, np.float32(np.inf)).astype(np.float32),
        np.where(lit, seen.class_id.reshape(height, width), np.uint8(UNLIT)),
        object_id,
    )


def turn(
    directions: Float32[np.ndarray, "N 3"], a_from_b: Float[np.ndarray, "4 4"]
) -> Float32[np.ndarray, "N 3"]:
    """Turn directions of frame b into frame a, without BLAS (see `light.dot`)."""
    columns, turned = directions.T.copy(), np.empty_like(directions)
    for axis in range(3):
        turned[:, axis] = dot(a_from_b[axis, :3].astype(np.float32), columns)
    return turned


def _edges(seen: Image, size: tuple[int, int]) -> Bool[np.ndarray, " N"]:
    """Return the pixels whose right or lower neighbour shows another thing, material or facing."""
    crease = seen.crease.reshape(size)
    edge = np.zeros(size, dtype=bool)
    across = crease[:, 1:] != crease[:, :-1]
    down = crease[1:] != crease[:-1]
    edge[:, 1:] |= across
    edge[:, :-1] |= across
    edge[1:] |= down
    edge[:-1] |= down
    return edge.ravel()


def _develop(
    radiance: Float32[np.ndarray, "3 H W"],
    lit: Bool[np.ndarray, "H W"],
    light: Light,
    rng: np.random.Generator,
) -> UInt8[np.ndarray, "H W 3"]:
    """Expose, darken towards the corners, add noise and quantise; what is not lit is black."""
    height, width = radiance.shape[1:]
    brightness = 0.3 * radiance[0] + 0.6 * radiance[1] + 0.1 * radiance[2]
    key = float(np.exp(np.log(brightness[lit] + 1e-3).mean())) * light.exposure
    exposure = light.exposure * float(np.clip((0.27 / key) ** 0.4, 0.6, 1.7))
    y = np.linspace(-1, 1, height, dtype=np.float32)[:, None]
    x = np.linspace(-1, 1, width, dtype=np.float32)[None]
    shown = tone_map(radiance * (1 - 0.10 * (x * x + y * y)), exposure)
    strength = 0.007 + 0.016 * light.lamps
    shown += rng.standard_normal(radiance.shape, dtype=np.float32) * np.float32(strength)
    quantised = (np.clip(shown, 0, 1) * 255 + 0.5).astype(np.uint8) * lit
    return np.ascontiguousarray(quantised.transpose(1, 2, 0))
