"""Light and weather, and the sky they make.

Axes: `N` directions. Radiance and colours are linear RGB; 1 is a white surface at noon.
"""

import math
from dataclasses import dataclass, replace

import numpy as np
from jaxtyping import Float, Float32

from streetworld.rendering.textures import patches
from streetworld.town.towns import Color


@dataclass(frozen=True)
class Light:
    """A kind of light and weather."""

    sun_height_deg: float
    sun: Color
    zenith: Color
    horizon: Color
    ambient: float
    """Strength of the light that comes from the whole sky."""
    fog_m: float
    """Distance over which fog takes all but 1/e of the contrast."""
    exposure: float
    clouds: float
    """How much of the sky is covered, 0-1."""
    wet: float = 0.0
    """How wet the ground is, 0-1."""
    lamps: float = 0.0
    """How strongly lamps of streets and vehicles count against daylight, 0-1."""
    sun_azimuth_deg: float = 40.0
    """Direction of the sun in the scene's frame, counter-clockwise from +x."""

    @property
    def to_sun(self) -> Float32[np.ndarray, "3"]:
        """Unit vector towards the sun."""
        height, azimuth = math.radians(self.sun_height_deg), math.radians(self.sun_azimuth_deg)
        level = math.cos(height)
        return np.array(
            [level * math.cos(azimuth), level * math.sin(azimuth), math.sin(height)], dtype=np.float32
        )

    @property
    def shadows(self) -> bool:
        """Whether the sun is bright enough to throw shadows."""
        return max(self.sun) > 0.25


LIGHTS: dict[str, Light] = {
    "noon": Light(
        sun_height_deg=55.0,
        sun=(1.75, 1.66, 1.5),
        zenith=(0.2, 0.38, 0.78),
        horizon=(0.66, 0.77, 0.9),
        ambient=0.62,
        fog_m=800.0,
        exposure=0.95,
        clouds=0.35,
    ),
    "low_sun": Light(
        sun_height_deg=13.0,
        sun=(1.75, 1.22, 0.75),
        zenith=(0.2, 0.32, 0.6),
        horizon=(0.92, 0.76, 0.58),
        ambient=0.5,
        fog_m=400.0,
        exposure=1.0,
        clouds=0.45,
    ),
    "overcast": Light(
        sun_height_deg=60.0,
        sun=(0.1, 0.1, 0.1),
        zenith=(0.62, 0.64, 0.67),
        horizon=(0.76, 0.78, 0.8),
        ambient=1.0,
        fog_m=230.0,
        exposure=0.9,
        clouds=1.0,
    ),
    "dusk": Light(
        sun_height_deg=4.0,
        sun=(0.2, 0.11, 0.06),
        zenith=(0.1, 0.14, 0.28),
        horizon=(0.42, 0.27, 0.2),
        ambient=0.36,
        fog_m=320.0,
        exposure=1.15,
        clouds=0.6,
        lamps=0.5,
    ),
    "night": Light(
        sun_height_deg=40.0,
        sun=(0.02, 0.022, 0.03),
        zenith=(0.004, 0.006, 0.013),
        horizon=(0.028, 0.022, 0.022),
        ambient=0.35,
        fog_m=200.0,
        exposure=3.0,
        clouds=0.5,
        lamps=1.0,
    ),
    "wet": Light(
        sun_height_deg=50.0,
        sun=(0.1, 0.1, 0.1),
        zenith=(0.5, 0.53, 0.57),
        horizon=(0.66, 0.69, 0.72),
        ambient=0.9,
        fog_m=160.0,
        exposure=1.0,
        clouds=1.0,
        wet=1.0,
        lamps=0.1,
    ),
    "fog": Light(
        sun_height_deg=50.0,
        sun=(0.08, 0.08, 0.08),
        zenith=(0.66, 0.68, 0.7),
        horizon=(0.7, 0.72, 0.73),
        ambient=0.9,
        fog_m=45.0,
        exposure=0.95,
        clouds=1.0,
        wet=0.25,
        lamps=0.15,
    ),
}
"""Kinds of light by name."""

LIGHT_SHARES: dict[str, float] = {
    "noon": 0.30, "low_sun": 0.14, "overcast": 0.20, "dusk": 0.08, "night": 0.12, "wet": 0.10, "fog": 0.06,
}  # fmt: skip
"""How often each kind of light is met."""


def draw_light(rng: np.random.Generator, names: tuple[str, ...] = ()) -> tuple[str, Light]:
    """Draw a kind of light (one of `names` if there are any), with the sun somewhere."""
    choices = list(names) or list(LIGHT_SHARES)
    shares = np.array([LIGHT_SHARES[name] for name in choices])
    name = choices[rng.choice(len(choices), p=shares / shares.sum())]
    light = LIGHTS[name]
    height = light.sun_height_deg * float(rng.uniform(0.85, 1.15))
    haze = light.fog_m * float(rng.uniform(0.8, 1.25))
    azimuth = float(rng.uniform(0, 360))
    return name, replace(light, sun_height_deg=height, fog_m=haze, sun_azimuth_deg=azimuth)


def dot(
    direction: Float32[np.ndarray, "3"], vectors: Float32[np.ndarray, "3 N"]
) -> Float32[np.ndarray, " N"]:
    """Return scalar products, without BLAS: its threads would fight with those of other processes."""
    return direction[0] * vectors[0] + direction[1] * vectors[1] + direction[2] * vectors[2]


def sky_radiance(directions: Float32[np.ndarray, "3 N"], light: Light) -> Float32[np.ndarray, "3 N"]:
    """Return the sky's radiance in directions that point up, and the horizon's below it."""
    up = np.clip(directions[2], 0, 1)
    share = np.sqrt(up)
    horizon, zenith = (np.array(color, dtype=np.float32)[:, None] for color in (light.horizon, light.zenith))
    radiance = horizon + share * (zenith - horizon)
    height = up + np.float32(0.10)
    cover = patches().look(directions[0] / height, directions[1] / height, 0.02, np.float32(0.004) / height)
    cover = np.clip((cover - (0.62 - 0.42 * light.clouds)) * 2.4, 0, 1) * np.clip(up * 7, 0, 1)
    radiance += cover * np.float32(0.85) * (horizon * np.float32(1.04) - radiance)
    if light.shadows:
        toward = np.clip(dot(light.to_sun, directions), 0, 1)
        glow = 0.22 * toward**40 + 4.0 * np.clip((toward - 0.9994) * 4000, 0, 1)
        radiance += glow.astype(np.float32) * np.array(light.sun, np.float32)[:, None]
    return radiance


def tone_map(radiance: Float[np.ndarray, "*shape"], exposure: float) -> Float[np.ndarray, "*shape"]:
    """Turn linear radiance into 0-1: a filmic curve (Narkowicz 2015) and a gamma of 2.2."""
    x = np.maximum(radiance, 0) * exposure
    return np.clip((x * (2.51 * x + 0.03)) / (x * (2.43 * x + 0.59) + 0.14), 0, 1) ** (1 / 2.2)
