"""The same street in every kind of light: what a light must change, and what it must not."""

from dataclasses import replace

import numpy as np
import pytest

from streetworld.rendering.light import LIGHTS, Light, draw_light
from streetworld.rendering.sensors import Shot
from streetworld.things.materials import CLASSES
from tests.streetworld.test_scenes import REQUEST, built_street


def look(lights: dict[str, Light]) -> dict[str, Shot]:
    """What the front camera sees of one street, by light."""
    scene = replace(built_street(), request=replace(REQUEST, image_size=(64, 112)))
    scenes = {name: replace(scene, light=light) for name, light in lights.items()}
    return {name: scene.look(scene.rig.cameras[0], 0).shot for name, scene in scenes.items()}


@pytest.fixture(scope="module")
def shots() -> dict[str, Shot]:
    return look({name: draw_light(REQUEST.rng(6), (name,))[1] for name in LIGHTS})


def grey(shot: Shot) -> np.ndarray:
    return shot.pixels.mean(axis=2)


def warmth(shot: Shot) -> float:
    return float(shot.pixels[..., 0].mean() / shot.pixels[..., 2].mean())


def contrast(shot: Shot, near_m: float, far_m: float) -> float:
    seen = (shot.depth_m > near_m) & (shot.depth_m < far_m)
    assert seen.sum() > 100
    return float(grey(shot)[seen].std())


@pytest.mark.parametrize("name", LIGHTS)
def test_a_light__shows_the_same_things_well_exposed(shots: dict[str, Shot], name: str) -> None:
    shot, noon = shots[name], shots["noon"]
    np.testing.assert_array_equal(shot.depth_m, noon.depth_m)
    np.testing.assert_array_equal(shot.object_id, noon.object_id)
    low, high = np.percentile(grey(shot), (2, 98))
    assert high - low > 80
    assert (shot.pixels == 255).mean() < 0.1
    others = [grey(shots[other]) for other in LIGHTS if other != name]
    assert min(np.abs(grey(shot) - other).mean() for other in others) > 5


def test_night__is_darker_than_dusk_and_dusk_than_day(shots: dict[str, Shot]) -> None:
    brightness = {name: float(grey(shot).mean()) for name, shot in shots.items()}
    assert brightness["night"] < 0.85 * brightness["dusk"]
    assert brightness["dusk"] < 0.85 * min(brightness[name] for name in ("noon", "low_sun", "overcast"))


def test_low_sun_and_dusk__are_warmer_than_noon(shots: dict[str, Shot]) -> None:
    assert warmth(shots["low_sun"]) > 1.1 * warmth(shots["noon"])
    assert warmth(shots["dusk"]) > 1.1 * warmth(shots["noon"])


def test_fog__takes_more_contrast_the_farther_things_are(shots: dict[str, Shot]) -> None:
    near, far = (
        contrast(shots["fog"], *reach) / contrast(shots["overcast"], *reach) for reach in ((0, 12), (45, 150))
    )
    assert far < 0.75 * near


def test_wet__makes_the_road_darker_with_bright_puddles_and_leaves_the_houses() -> None:
    wet = draw_light(REQUEST.rng(6), ("wet",))[1]
    shots = look({"wet": wet, "dry": replace(wet, wet=0.0)})
    change = grey(shots["wet"]) - grey(shots["dry"])
    road, houses = (shots["wet"].class_id == CLASSES.index(name) for name in ("road", "building"))
    assert min(road.sum(), houses.sum()) > 500
    assert np.percentile(change[road], 10) < -15
    assert np.percentile(change[road], 98) > 15
    assert np.abs(change[houses]).mean() < 0.3 * np.abs(change[road]).mean()
