import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from torch import Tensor
from torch.nn import functional as F

from occfeat.geometry.camera import (
    NEAREST_DEPTH_M,
    crop,
    flip_left_right,
    invert_pinhole,
    project,
    resize,
    rotate,
    visible_in,
)
from occfeat.geometry.pinhole import is_pinhole
from tests.geometry.strategies import floats, intrinsics, point_clouds, unproject, vectors
from tests.models.rigs import random_cameras

SIZES = st.tuples(st.integers(4, 40), st.integers(4, 40))


def position_image(size: tuple[int, int]) -> Tensor:
    """A picture (2, H, W) whose pixels hold their own (u, v)."""
    height, width = size
    v, u = torch.meshgrid(
        torch.arange(height, dtype=torch.float64) + 0.5,
        torch.arange(width, dtype=torch.float64) + 0.5,
        indexing="ij",
    )
    return torch.stack((u, v))


def moved(new_from_old_px: Tensor, old: Tensor) -> Tensor:
    """Where old pixel positions (2, H, W) go."""
    homogeneous = torch.cat((old, torch.ones_like(old[:1])))
    return torch.einsum("ij,jhw->ihw", new_from_old_px, homogeneous)[:2]


def assert_moved(
    new_from_old_px: Tensor, picture: Tensor, border_px: int = 0, tolerance: float = 1e-9
) -> None:
    """Every pixel of `picture` holds the old position that the matrix says has come there."""
    inner = (slice(None), *(slice(border_px, length - border_px) for length in picture.shape[1:]))
    here = position_image((picture.shape[1], picture.shape[2]))
    torch.testing.assert_close(moved(new_from_old_px, picture)[inner], here[inner], rtol=0, atol=tolerance)


@given(intrinsics(), vectors(2, -100, 1000), floats(0.5, 80.0))
def test_project__undoes_unproject(matrix: Tensor, pixel: Tensor, depth_m: float) -> None:
    depth = torch.tensor([depth_m], dtype=torch.float64)
    pixels, depths = project(matrix, unproject(matrix, pixel[None], depth))
    torch.testing.assert_close(pixels[0], pixel, rtol=1e-9, atol=1e-7)
    torch.testing.assert_close(depths, depth)


@given(intrinsics(), point_clouds())
def test_unproject__undoes_project(matrix: Tensor, points_camera: Tensor) -> None:
    points_camera = points_camera[points_camera[:, 2] > 0.5]
    back = unproject(matrix, *project(matrix, points_camera))
    torch.testing.assert_close(back, points_camera, rtol=1e-8, atol=1e-8)


def test_project__by_hand() -> None:
    matrix = torch.tensor([[100.0, 0, 50], [0, 200.0, 20], [0, 0, 1]])
    # 1 m right and 0.5 m below the axis, 4 m ahead.
    pixels, depth_m = project(matrix, torch.tensor([[1.0, 0.5, 4.0]]))
    assert pixels.tolist() == [[75.0, 45.0]]
    assert depth_m.tolist() == [4.0]


def test_project__points_beside_and_behind_are_finite() -> None:
    points = torch.tensor([[1.0, 1.0, 0.0], [1.0, 1.0, -1e-9], [1.0, 1.0, -3.0], [0.0, 0.0, 0.0]])
    pixels, depth_m = project(torch.eye(3) * 100, points)
    assert pixels.isfinite().all()
    assert not visible_in((10, 10), pixels, depth_m).any()


@pytest.mark.parametrize(
    ("u", "v", "depth_m", "seen"),
    [
        (0.0, 0.0, 1.0, True),
        (-1e-4, 1.0, 1.0, False),
        (1.0, -1e-4, 1.0, False),
        (29.999, 19.999, 1.0, True),
        (30.0, 1.0, 1.0, False),
        (1.0, 20.0, 1.0, False),
        (1.0, 1.0, NEAREST_DEPTH_M, True),
        (1.0, 1.0, NEAREST_DEPTH_M - 1e-4, False),
        (1.0, 1.0, -5.0, False),
        (1.0, 1.0, math.nan, False),
        (math.nan, 1.0, 1.0, False),
        (1.0, math.inf, 1.0, False),
    ],
)
def test_visible_in__borders(u: float, v: float, depth_m: float, seen: bool) -> None:
    got = visible_in((20, 30), torch.tensor([[u, v]]), torch.tensor([depth_m]))
    assert got.tolist() == [seen]


@given(SIZES, SIZES)
def test_resize__moves_pixels_as_interpolation_does(old: tuple[int, int], new: tuple[int, int]) -> None:
    picture = F.interpolate(position_image(old)[None], size=new, mode="bilinear", align_corners=False)[0]
    # Interpolation clamps within half an old pixel of the edge: look inside it.
    border_px = math.ceil(max(new[0] / old[0], new[1] / old[1]) / 2)
    assert_moved(resize(old, new), picture, border_px)


@given(SIZES, SIZES)
def test_resize__corners_stay_corners(old: tuple[int, int], new: tuple[int, int]) -> None:
    corner = torch.tensor([old[1], old[0], 1.0], dtype=torch.float64)
    torch.testing.assert_close(resize(old, new) @ corner, torch.tensor([new[1], new[0], 1.0]).double())


@given(SIZES, st.data())
def test_crop__moves_pixels_as_slicing_does(size: tuple[int, int], data: st.DataObject) -> None:
    top, left = data.draw(st.integers(0, size[0] - 1)), data.draw(st.integers(0, size[1] - 1))
    assert_moved(crop(float(left), float(top)), position_image(size)[:, top:, left:])


def test_crop__negative_values_pad() -> None:
    padded = F.pad(position_image((5, 6)), (3, 0, 2, 0), value=math.nan)
    here = moved(crop(-3.0, -2.0), padded)
    assert here[:, 2, 3].tolist() == [3.5, 2.5]


@given(SIZES)
def test_flip__moves_pixels_as_mirroring_does(size: tuple[int, int]) -> None:
    assert_moved(flip_left_right(float(size[1])), position_image(size).flip(-1))


@pytest.mark.parametrize("angle_deg", [-90.0, -17.5, 0.0, 8.0, 45.0, 90.0, 180.0])
def test_rotate__moves_pixels_as_pillow_does(angle_deg: float) -> None:
    size = (31, 44)
    planes = [Image.fromarray(plane.float().numpy()) for plane in position_image(size)]
    turned = [plane.rotate(angle_deg, resample=Image.Resampling.BILINEAR, fillcolor=-1.0) for plane in planes]
    picture = torch.stack([torch.tensor(np.array(plane)) for plane in turned])
    old = moved(rotate(size, -angle_deg), position_image(size))
    # Pillow clamps within half a pixel of the edge: look inside it.
    inner = ((old > 0.5) & (old < torch.tensor([size[1], size[0]])[:, None, None] - 0.5)).all(0)
    assert inner.float().mean() > 0.4
    assert (picture - old)[:, inner].abs().max() < 1e-4


def test_rotate__positive_angle_is_counter_clockwise_on_screen() -> None:
    right_of_the_middle = torch.tensor([15.0, 5.0, 1.0], dtype=torch.float64)
    turned = rotate((10, 20), 90.0) @ right_of_the_middle
    torch.testing.assert_close(turned, torch.tensor([10.0, 0.0, 1.0], dtype=torch.float64))


@given(SIZES, floats(-180, 180), floats(-180, 180))
def test_rotate__adds_angles(size: tuple[int, int], first_deg: float, second_deg: float) -> None:
    chain = rotate(size, first_deg) @ rotate(size, second_deg)
    torch.testing.assert_close(chain, rotate(size, first_deg + second_deg), rtol=1e-9, atol=1e-9)


@given(intrinsics(), vectors(2, 0, 400), floats(0.5, 80.0), floats(-30, 30), st.booleans())
def test_image_operations__leave_points_fixed(
    matrix: Tensor, pixel: Tensor, depth_m: float, angle_deg: float, flip: bool
) -> None:
    """A thing seen at a pixel is at the same place in 3-D after image and intrinsics have changed."""
    new_from_old_px = rotate((224, 400), angle_deg) @ crop(7.0, 11.0) @ resize((900, 1600), (235, 410))
    if flip:
        new_from_old_px = flip_left_right(400.0) @ new_from_old_px
    new_pixel = (new_from_old_px @ torch.cat((pixel, torch.ones(1).double())))[None, :2]
    depth = torch.tensor([depth_m], dtype=torch.float64)
    torch.testing.assert_close(
        unproject(new_from_old_px @ matrix, new_pixel, depth),
        unproject(matrix, pixel[None], depth),
        rtol=1e-8,
        atol=1e-8,
    )


def test_flip__of_a_painted_point() -> None:
    """The painted pixel of a mirrored picture is where mirrored intrinsics project the point."""
    matrix = torch.tensor([[100.0, 0, 20], [0, 100.0, 15], [0, 0, 1]], dtype=torch.float64)
    point_camera = torch.tensor([[0.62, -0.33, 5.0]], dtype=torch.float64)
    u, v = project(matrix, point_camera)[0][0].floor().long()
    picture = torch.zeros(30, 40)
    picture[v, u] = 1
    u, v = project(flip_left_right(40.0) @ matrix, point_camera)[0][0].floor().long()
    assert picture.flip(-1)[v, u] == 1


@given(intrinsics())
def test_is_pinhole__accepts(matrix: Tensor) -> None:
    both = torch.stack((matrix, flip_left_right(400.0) @ matrix))
    assert is_pinhole(both.double().numpy()).all()


@pytest.mark.parametrize(
    ("row", "column", "value"),
    [(0, 0, 0.0), (1, 1, 0.0), (2, 2, 0.0), (2, 0, 0.01), (0, 2, math.nan), (0, 0, math.inf)],
)
def test_is_pinhole__refuses(row: int, column: int, value: float) -> None:
    both = torch.diag(torch.tensor([500.0, 500.0, 1.0])).repeat(2, 1, 1)
    both[1, row, column] = value
    assert is_pinhole(both.double().numpy()).tolist() == [True, False]


def test_invert_pinhole__as_the_general_inverse() -> None:
    intrinsics = random_cameras(0, batch=50, cameras=6, image_size=(224, 400)).intrinsics.double()
    found = invert_pinhole(intrinsics)
    assert torch.allclose(found, torch.linalg.inv(intrinsics), rtol=1e-12, atol=1e-15)
