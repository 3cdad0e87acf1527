import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from streetworld.town.curves import Curve, bezier, thin

angles = st.floats(-1.2, 1.2)


def arc(radius_m: float = 20.0, count: int = 200) -> Curve:
    turn = np.linspace(0, np.pi / 2, count)
    return Curve(radius_m * np.stack((np.sin(turn), 1 - np.cos(turn)), axis=-1))


def test_an_arc_is_as_long_and_as_round_as_it_should_be() -> None:
    curve = arc()
    assert curve.length_m == pytest.approx(20 * np.pi / 2, rel=1e-4)
    assert curve.smallest_radius_m == pytest.approx(20, rel=1e-2)


def test_left_of_a_left_turn_is_inside() -> None:
    assert arc().offset(5.0).length_m == pytest.approx(15 * np.pi / 2, rel=3e-3)
    assert arc().offset(-5.0).length_m == pytest.approx(25 * np.pi / 2, rel=3e-3)


@given(angles, angles, st.floats(0, 1))
def test_frame_agrees_with_position_and_direction(first: float, second: float, share: float) -> None:
    curve = bezier(
        np.zeros(2),
        30 * np.array([np.cos(first), np.sin(first)]),
        -30 * np.array([np.cos(second), np.sin(second)]),
        np.array([100.0, 10.0]),
        41,
    )
    way = np.array([share * curve.length_m])
    x, y, heading = curve.frame(float(way[0]))
    np.testing.assert_allclose((x, y), curve.position(way)[0], atol=1e-9)
    np.testing.assert_allclose((np.cos(heading), np.sin(heading)), curve.direction(way)[0], atol=1e-9)


@given(st.floats(1, 15), st.floats(16, 30))
def test_a_part_keeps_its_way_and_reversing_twice_is_nothing(start: float, end: float) -> None:
    curve = arc()
    part = curve.part(start, end)
    assert part.length_m == pytest.approx(end - start, rel=1e-4)
    np.testing.assert_array_equal(part.points, part.reverse().reverse().points)
    np.testing.assert_allclose(part.points[0], curve.position(np.array([start]))[0])


def test_a_bezier_leaves_and_arrives_along_its_handles() -> None:
    curve = bezier(np.zeros(2), np.array([0.0, 5.0]), np.array([-5.0, 0.0]), np.array([20.0, 20.0]), 201)
    np.testing.assert_allclose(curve.tangents[0], (0, 1), atol=0.02)
    np.testing.assert_allclose(curve.tangents[-1], (1, 0), atol=0.02)


def test_place_beside__is_one_of_many_places() -> None:
    curve, ways = arc(), np.array([0.0, 7.3, 20.0])
    many, directions = curve.beside(ways, 2.5), curve.direction(ways)
    for way, point, (x, y) in zip(ways, many, directions, strict=True):
        found, heading = curve.place_beside(float(way), 2.5)
        np.testing.assert_array_equal(found, point)
        assert heading == np.arctan2(y, x)


def test_thin__keeps_ends_and_corners() -> None:
    straight = np.array([(0.0, 0.0), (1.0, 0.0), (2.0, 0.0), (2.0, 3.0)])
    np.testing.assert_array_equal(thin(straight), straight[[0, 2, 3]])
    np.testing.assert_array_equal(thin(straight[:2]), straight[:2])
