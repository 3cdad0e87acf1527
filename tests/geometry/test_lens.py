"""Lenses: what is a lens at all, and up to which angle it is one."""

import math
import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given

from occfeat.errors import LensError
from occfeat.geometry.lens import (
    NUMBERS,
    PINHOLE,
    WIDEST_FISHEYE_RAD,
    WIDEST_PERSPECTIVE_RAD,
    Lens,
    parse_lens,
)
from tests.geometry.strategies import Made, brown_conrady, lenses


@pytest.mark.parametrize(
    ("model", "coefficients", "said"),
    [
        ("fisheye", (), "Expected a lens model, got 'fisheye'"),
        ("pinhole", (0.1,), "Expected 0 coefficients of a lens pinhole, got 1"),
        ("brown_conrady", (0.1,) * 3, "Expected 4 or 5 or 8 coefficients of a lens brown_conrady, got 3"),
        ("kannala_brandt", (0.1,) * 5, "Expected 4 coefficients of a lens kannala_brandt, got 5"),
        ("f_theta", (), "Expected 1 to 9 coefficients of a lens f_theta, got 0"),
        ("f_theta", (1.0,) * 10, "Expected 1 to 9 coefficients of a lens f_theta, got 10"),
        ("f_theta", (0.0, 1.0), "Expected a first coefficient above 0"),
        ("kannala_brandt", (math.nan, 0.0, 0.0, 0.0), "Expected finite coefficients"),
        ("brown_conrady", (0.0, 0.0, math.inf, 0.0), "Expected finite coefficients"),
        ("brown_conrady", (0.0, 0.0, 0.0, 1e7), "Expected finite coefficients below 1e"),
    ],
)
def test_lens__refuses(model: str, coefficients: tuple[float, ...], said: str) -> None:
    with pytest.raises(LensError, match=said):
        Lens(model, coefficients)


def test_lens__unknown_model_is_told_the_closest() -> None:
    with pytest.raises(LensError, match="Did you mean kannala_brandt"):
        Lens("kannala_brand", (0.0,) * 4)


@given(lenses())
def test_parse__undoes_as_record(made: Made) -> None:
    lens = Lens(*made)
    assert parse_lens(lens.as_record()) == lens


@pytest.mark.parametrize(
    "record",
    [
        None,
        "pinhole",
        [],
        {},
        {"model": 3},
        {"model": "pinhole", "coefficients": None},
        {"model": "f_theta", "coefficients": ["1"]},
        {"model": "f_theta", "coefficients": [True]},
        {"model": "f_theta", "coefficients": [10**400]},
        {"model": "f_theta", "coefficients": {"a": 1}},
        {"model": "pinhole", "coefs": []},
        {1: 2},
    ],
)
def test_parse__refuses_what_is_no_lens(record: object) -> None:
    with pytest.raises(LensError):
        parse_lens(record)


def test_parse__integers_and_a_bare_pinhole() -> None:
    assert parse_lens({"model": "pinhole"}) == PINHOLE
    assert parse_lens({"model": "f_theta", "coefficients": [1, 0]}) == Lens("f_theta", (1.0, 0.0))


@pytest.mark.parametrize(
    ("lens", "angle_rad"),
    [
        (PINHOLE, WIDEST_PERSPECTIVE_RAD),
        (Lens("kannala_brandt", (0.0,) * 4), WIDEST_FISHEYE_RAD),
        (Lens("f_theta", (2.0,)), WIDEST_FISHEYE_RAD),
        # r (1 - 0.3 r^2) turns at r = 1 / sqrt(0.9)
        (Lens("brown_conrady", (-0.3, 0.0, 0.0, 0.0)), math.atan(1 / math.sqrt(0.9))),
        # theta - 0.2 theta^2 turns at 2.5
        (Lens("f_theta", (1.0, -0.2)), 2.5),
        # theta (1 - theta^2 / 12) turns at 2
        (Lens("kannala_brandt", (-1 / 12, 0.0, 0.0, 0.0)), 2.0),
        # r / (1 + r^2) turns at 1
        (Lens("brown_conrady", (0.0, 0.0, 0.0, 0.0, 0.0, 1.0, 0.0, 0.0)), math.pi / 4),
        # r / (1 - r^2 / 4) has a pole at 2
        (Lens("brown_conrady", (0.0, 0.0, 0.0, 0.0, 0.0, -0.25, 0.0, 0.0)), math.atan(2)),
        # Against its tangential direction, x - 3 p x^2 turns at 1 / (6 p)
        (Lens("brown_conrady", (0.0, 0.0, 0.0, 0.1)), math.atan(1 / 0.6)),
        (Lens("brown_conrady", (0.0, 0.0, -0.1, 0.0)), math.atan(1 / 0.6)),
    ],
)
def test_max_angle__by_hand(lens: Lens, angle_rad: float) -> None:
    assert math.isclose(lens.max_angle_rad, angle_rad, rel_tol=1e-6)


@given(lenses())
def test_max_angle__radius_grows_up_to_it(made: Made) -> None:
    lens = Lens(*made)
    angles = np.linspace(0, lens.max_angle_rad, 5000)
    assert (np.diff(lens.radius(angles)) > 0).all()


@given(brown_conrady())
def test_max_angle__no_two_points_have_one_image(made: Made) -> None:
    """The Jacobian, by differences, is positive definite everywhere inside."""
    lens = Lens(*made)
    largest = min(math.tan(lens.max_angle_rad) * 0.999, 5.0)
    radius, direction = np.meshgrid(np.linspace(0, largest, 40), np.linspace(0, 2 * np.pi, 60))
    x, y = radius * np.cos(direction), radius * np.sin(direction)
    k1, k2, p1, p2, k3, k4, k5, k6 = (*lens.coefficients, 0.0, 0.0, 0.0, 0.0)[:8]

    def image(x: np.ndarray, y: np.ndarray) -> np.ndarray:
        s = x**2 + y**2
        radial = (1 + k1 * s + k2 * s**2 + k3 * s**3) / (1 + k4 * s + k5 * s**2 + k6 * s**3)
        across = 2 * p1 * x * y + p2 * (s + 2 * x**2), p1 * (s + 2 * y**2) + 2 * p2 * x * y
        return np.stack((x * radial + across[0], y * radial + across[1]))

    step = 1e-6
    by_x = (image(x + step, y) - image(x - step, y)) / (2 * step)
    by_y = (image(x, y + step) - image(x, y - step)) / (2 * step)
    assert (by_x[0] * by_y[1] - by_x[1] * by_y[0] > 0).all()
    assert (by_x[0] > 0).all()


@given(lenses())
def test_numbers__are_as_many_for_every_lens(made: Made) -> None:
    lens = Lens(*made)
    numbers = lens.numbers()
    assert len(numbers) == NUMBERS
    assert np.isfinite(numbers).all()


def test_lens__needs_no_torch() -> None:
    code = "import sys, occfeat.geometry.lens; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
