import math

import pytest
import torch
from hypothesis import given
from torch import Tensor

from occfeat.geometry.frames import (
    from_rotation,
    invert,
    is_isometry,
    rotation_about_z,
    rotation_from_quaternion,
    transform_points,
)
from tests.geometry.strategies import floats, point_clouds, quaternions, transforms, vectors

FORWARD, LEFT, UP = torch.eye(3, dtype=torch.float64)


def close(actual: Tensor, expected: Tensor, tolerance: float = 1e-9) -> None:
    torch.testing.assert_close(actual, expected, rtol=tolerance, atol=tolerance)


@given(transforms(), point_clouds())
def test_invert__undoes_the_transform(a_from_b: Tensor, points_b: Tensor) -> None:
    close(transform_points(invert(a_from_b), transform_points(a_from_b, points_b)), points_b)
    close(invert(a_from_b), torch.linalg.inv(a_from_b))


@given(transforms(), transforms(), point_clouds())
def test_chain__is_one_transform_after_the_other(
    a_from_b: Tensor, b_from_c: Tensor, points_c: Tensor
) -> None:
    close(
        transform_points(a_from_b @ b_from_c, points_c),
        transform_points(a_from_b, transform_points(b_from_c, points_c)),
    )
    close(invert(a_from_b @ b_from_c), invert(b_from_c) @ invert(a_from_b))


@given(transforms(), point_clouds())
def test_transform_points__equals_homogeneous_products(a_from_b: Tensor, points_b: Tensor) -> None:
    expected = [(a_from_b @ torch.cat((point, torch.ones(1).double())))[:3] for point in points_b]
    close(transform_points(a_from_b, points_b), torch.stack(expected) if expected else points_b)


@given(quaternions(), vectors(3, -10, 10))
def test_rotation_from_quaternion__equals_rodrigues(wxyz: Tensor, vector: Tensor) -> None:
    w, axis = wxyz[0] / wxyz.norm(), wxyz[1:] / wxyz.norm()
    # Rotation of a vector by a unit quaternion, without any matrix.
    twice = 2 * torch.linalg.cross(axis, vector)
    expected = vector + w * twice + torch.linalg.cross(axis, twice)
    close(rotation_from_quaternion(wxyz) @ vector, expected)


@given(quaternions(), floats(0.1, 10.0))
def test_rotation_from_quaternion__ignores_length_and_sign(wxyz: Tensor, factor: float) -> None:
    rotation = rotation_from_quaternion(wxyz)
    close(rotation_from_quaternion(-factor * wxyz), rotation)
    close(rotation @ rotation.mT, torch.eye(3, dtype=torch.float64))
    close(torch.linalg.det(rotation), torch.tensor(1.0, dtype=torch.float64))


def test_rotation_from_quaternion__scalar_comes_first() -> None:
    quarter_turn_about_z = torch.tensor([math.cos(math.pi / 4), 0, 0, math.sin(math.pi / 4)]).double()
    close(rotation_from_quaternion(quarter_turn_about_z) @ FORWARD, LEFT, 1e-6)


@given(floats(-10.0, 10.0), floats(-10.0, 10.0))
def test_rotation_about_z__adds_angles(first_rad: float, second_rad: float) -> None:
    first, second = torch.tensor([first_rad, second_rad], dtype=torch.float64)
    close(rotation_about_z(first) @ rotation_about_z(second), rotation_about_z(first + second))


def test_rotation_about_z__turns_forward_towards_left() -> None:
    quarter = rotation_about_z(torch.tensor(math.pi / 2, dtype=torch.float64))
    close(quarter @ FORWARD, LEFT)
    close(quarter @ LEFT, -FORWARD)
    close(quarter @ UP, UP)


def test_invert__of_a_mirrored_frame() -> None:
    mirror = from_rotation(torch.diag(torch.tensor([1.0, -1.0, 1.0])), torch.tensor([1.0, 2.0, 3.0]))
    assert is_isometry(mirror)
    close(invert(mirror) @ mirror, torch.eye(4), 1e-6)


@given(transforms())
def test_is_isometry__accepts_rigid_transforms(a_from_b: Tensor) -> None:
    assert is_isometry(a_from_b)


@pytest.mark.parametrize(
    ("row", "column", "value"),
    [(0, 0, 1.1), (0, 1, 0.1), (3, 0, 0.1), (3, 3, 0.0), (1, 3, math.nan), (0, 0, math.inf)],
)
def test_is_isometry__refuses(row: int, column: int, value: float) -> None:
    both = torch.eye(4).repeat(2, 1, 1)
    both[1, row, column] = value
    assert is_isometry(both).tolist() == [True, False]


def test_batches__any_leading_axes() -> None:
    a_from_b = torch.eye(4).repeat(2, 3, 1, 1)
    a_from_b[..., 0, 3] = torch.arange(6.0).reshape(2, 3)
    moved = transform_points(a_from_b, torch.zeros(2, 3, 5, 3))
    assert moved.shape == (2, 3, 5, 3)
    assert moved[1, 2, 0].tolist() == [5, 0, 0]
    assert invert(a_from_b)[1, 2, 0, 3] == -5
