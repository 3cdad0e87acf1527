"""Edges in photographs: a dark board that leans, before the sky."""

from dataclasses import replace

import numpy as np
import pytest

from streetworld.rendering import sensors
from streetworld.rendering.sensors import Shot
from streetworld.rendering.tracer import Tracer
from streetworld.scene import Scene
from streetworld.things.materials import Material
from streetworld.things.shapes import box, place
from tests.streetworld.test_scenes import built_street, open_field


@pytest.fixture(scope="module")
def board() -> Scene:
    field = open_field(built_street(), [], "overcast")
    leaning = replace(field.rig.cameras[0], roll_deg=20.0)
    dark = place(box((0, 0, 1.5), (0.1, 5, 3), Material.DARK), (10, 0, 0), object_id=0)
    return replace(field, rig=replace(field.rig, cameras=(leaning,)), still=Tracer(dark))


def photograph(board: Scene, size: tuple[int, int] = (64, 112)) -> Shot:
    return replace(board, request=replace(board.request, image_size=size)).look(board.rig.cameras[0], 0).shot


@pytest.fixture(scope="module")
def smooth(board: Scene) -> Shot:
    return photograph(board)


@pytest.fixture
def jagged(board: Scene, monkeypatch: pytest.MonkeyPatch) -> Shot:
    """The same without more rays on edges."""
    monkeypatch.setattr(sensors, "_edges", lambda seen, size: np.zeros(size, dtype=bool).ravel())
    return photograph(board)


def on_edges(shot: Shot) -> np.ndarray:
    thing, edge = shot.object_id, np.zeros(shot.object_id.shape, dtype=bool)
    across, down = thing[:, 1:] != thing[:, :-1], thing[1:] != thing[:-1]
    edge[:, 1:] |= across
    edge[:, :-1] |= across
    edge[1:] |= down
    edge[:-1] |= down
    return edge


def brightness(shot: Shot) -> np.ndarray:
    """From 0, that of the board, to 1, that of the sky."""
    grey, edge = shot.pixels.mean(axis=2), on_edges(shot)
    dark, bright = (np.median(grey[~edge & (shot.object_id == thing)]) for thing in (0, -1))
    assert bright > dark + 80
    return (grey - dark) / (bright - dark)


def test_edges__are_mixed_from_both_sides(smooth: Shot, jagged: Shot) -> None:
    mixed, sharp = ((abs(brightness(shot) - 0.5) < 0.4) for shot in (smooth, jagged))
    edge = on_edges(smooth)
    assert not sharp.any()
    assert not mixed[~edge].any()
    assert mixed[edge].mean() > 0.15


def test_edges__come_nearer_to_those_of_a_picture_of_eight_times_the_size(
    board: Scene, smooth: Shot, jagged: Shot
) -> None:
    fine = brightness(photograph(board, (512, 896))).reshape(64, 8, 112, 8).mean(axis=(1, 3))
    edge = on_edges(smooth)
    errors = [np.abs(brightness(shot) - fine)[edge].mean() for shot in (smooth, jagged)]
    assert errors[0] < 0.9 * errors[1]


def test_pixels_away_from_edges__do_without_more_rays(smooth: Shot, jagged: Shot) -> None:
    change = np.abs(smooth.pixels.astype(int) - jagged.pixels)
    edge = on_edges(smooth)
    assert change[~edge].max() <= 1  # the exposure follows the whole image
    assert change[edge].max() > 30
    np.testing.assert_array_equal(smooth.depth_m, jagged.depth_m)
