"""The mathematics of lenses beside OpenCV, beside plain NumPy, and beside itself backwards."""

import cv2
import numpy as np
import pytest
import torch
from hypothesis import example, given
from hypothesis import strategies as st
from torch import Tensor

from occfeat.geometry.camera import project, visible_in
from occfeat.geometry.distortion import distort, stack_lenses, undistort
from occfeat.geometry.lens import PINHOLE, Lens
from streetworld.optics import Optics
from streetworld.rigs import BARREL, FISHEYE
from tests.geometry.strategies import Made, brown_conrady, f_theta, floats, kannala_brandt, lenses, vectors
from tests.models.rigs import LENSES

MATRIX = torch.tensor([[320.0, 2.0, 300.0], [0.0, 310.0, 200.0], [0.0, 0.0, 1.0]], dtype=torch.float64)


def numbers_of(*made: Lens) -> Tensor:
    """Lenses as a tensor in double precision."""
    return torch.tensor([lens.numbers() for lens in made], dtype=torch.float64)


def points_within(lens: Lens, share: float, directions: int = 24) -> Tensor:
    """Points (P, 3) at a distance of 4 m, at angles up to a share of the largest one of a lens."""
    angle, direction = np.meshgrid(
        np.linspace(0, share * lens.max_angle_rad, 15), np.linspace(0, 2 * np.pi, directions)
    )
    axes = (np.sin(angle) * np.cos(direction), np.sin(angle) * np.sin(direction), np.cos(angle))
    return torch.from_numpy(4 * np.stack([axis.ravel() for axis in axes], axis=-1))


@given(brown_conrady(), floats(0.05, 0.99))
def test_project__brown_conrady_as_opencv(made: Made, share: float) -> None:
    lens = Lens(*made)
    points = points_within(lens, share)
    points = points[torch.atan2(points[:, :2].norm(dim=1), points[:, 2]) < 1.2]
    got, depth_m = project(MATRIX[None], points[None], numbers_of(lens))
    zero = np.zeros(3)
    want, _ = cv2.projectPoints(points.numpy(), zero, zero, MATRIX.numpy(), np.array(lens.coefficients))
    # OpenCV has no skew.
    want = want[:, 0] + np.array([2.0 / 310.0, 0]) * (want[:, 0, 1:] - 200.0)
    np.testing.assert_allclose(got[0], want, rtol=0, atol=1e-6)
    torch.testing.assert_close(depth_m[0], points[:, 2])


@given(kannala_brandt(), floats(0.05, 0.99))
def test_project__kannala_brandt_as_opencv(made: Made, share: float) -> None:
    lens = Lens(*made)
    points = points_within(lens, share)
    points = points[torch.atan2(points[:, :2].norm(dim=1), points[:, 2]) < 1.55]  # as far as OpenCV goes
    got, depth_m = project(MATRIX[None], points[None], numbers_of(lens))
    zero, matrix, skew = np.zeros(3), MATRIX.numpy(), 2.0 / 320.0
    want, _ = cv2.fisheye.projectPoints(
        points.numpy()[:, None], zero, zero, matrix, np.array(lens.coefficients), alpha=skew
    )
    np.testing.assert_allclose(got[0], want[:, 0], rtol=0, atol=1e-6)
    torch.testing.assert_close(depth_m[0], points.norm(dim=1))


@given(f_theta() | kannala_brandt(), floats(0.05, 0.99))
def test_distort__fisheye_as_plain_numpy(made: Made, share: float) -> None:
    lens = Lens(*made)
    points = points_within(lens, share)
    x, y, depth_m = distort(numbers_of(lens)[0], *points.unbind(-1))
    powers = lens.coefficients
    if lens.model == "kannala_brandt":
        k1, k2, k3, k4 = powers
        powers = (1.0, 0.0, k1, 0.0, k2, 0.0, k3, 0.0, k4)
    for at, point in enumerate(points.numpy()):
        angle = np.arccos(np.clip(point[2] / np.linalg.norm(point), -1, 1))
        radius = sum(one * angle**power for power, one in enumerate(powers, start=1))
        across = np.hypot(point[0], point[1])
        want = radius * point[:2] / across if across > 1e-9 else np.zeros(2)
        np.testing.assert_allclose((x[at], y[at]), want, rtol=1e-7, atol=1e-7)
        assert np.isclose(depth_m[at], 4)


@given(vectors(3, -20, 20).filter(lambda point: float(point[2]) > 0.2))
def test_project__pinhole_beside_other_lenses(point: Tensor) -> None:
    """A pinhole that is computed as a lens has the pixel of a pinhole."""
    pixels, depth_m = project(MATRIX[None], point[None, None], numbers_of(PINHOLE))
    plain, plain_depth_m = project(MATRIX[None], point[None, None])
    torch.testing.assert_close(pixels, plain, rtol=1e-12, atol=1e-9)
    torch.testing.assert_close(depth_m, plain_depth_m)


@given(lenses(), floats(0.05, 0.999))
@example(("brown_conrady", (0.0, 0.25, 0.0, 0.0, 0.0, 0.0, 0.0, 0.03125)), 0.875)  # Newton swings back
@example(("brown_conrady", (0.0, 0.25, 0.0, 0.0, 0.0, -0.015625, 0.0, 0.0)), 0.75)  # a pole at the limit
def test_undistort__undoes_distort(made: Made, share: float) -> None:
    lens = Lens(*made)
    points, numbers = points_within(lens, share), numbers_of(lens)[0]
    x, y, depth_m = distort(numbers, *points.unbind(-1))
    assert (depth_m > 0).all()
    rays, exist = undistort(numbers, x, y)
    assert exist.all()
    again = distort(numbers, *rays.unbind(-1))
    torch.testing.assert_close(torch.stack(again[:2]), torch.stack((x, y)), rtol=1e-8, atol=1e-8)
    # Beside the largest angle the image hardly moves, so that the angle is less exact.
    exact = points_within(lens, min(share, 0.9))
    x, y, depth_m = distort(numbers, *exact.unbind(-1))
    back = undistort(numbers, x, y)[0] * depth_m[:, None]
    torch.testing.assert_close(back, exact, rtol=1e-6, atol=1e-6)


@given(st.lists(lenses(), min_size=1, max_size=5))
def test_distort__cameras_of_different_models_in_one_call(made: list[Made]) -> None:
    rig = [Lens(*one) for one in made]
    points = points_within(Lens("f_theta", (1.0,)), 0.99)
    together = distort(numbers_of(*rig), *(axis.expand(len(rig), -1) for axis in points.unbind(-1)))
    for at, lens in enumerate(rig):
        alone = distort(numbers_of(lens)[0], *points.unbind(-1))
        for one, other in zip(together, alone, strict=True):
            torch.testing.assert_close(one[at], other, rtol=1e-12, atol=1e-12)
    xy = points[:, :2] / 4
    found, exist = undistort(numbers_of(*rig), *(axis.expand(len(rig), -1) for axis in xy.unbind(-1)))
    for at, lens in enumerate(rig):
        alone_rays, alone_exist = undistort(numbers_of(lens)[0], *xy.unbind(-1))
        assert torch.equal(exist[at], alone_exist)
        torch.testing.assert_close(found[at], alone_rays, rtol=1e-9, atol=1e-9)


@given(lenses())
def test_distort__nothing_beyond_the_largest_angle_folds_into_the_image(made: Made) -> None:
    lens = Lens(*made)
    beyond = np.linspace(lens.max_angle_rad + 1e-6, np.pi, 50)
    x, z = torch.from_numpy(np.sin(beyond)), torch.from_numpy(np.cos(beyond))
    _, _, depth_m = distort(numbers_of(lens)[0], x, torch.zeros_like(x), z)
    assert (depth_m == 0).all()
    pixels, depth_m = project(MATRIX[None], torch.stack((x, 0 * x, z), -1)[None], numbers_of(lens))
    assert pixels.isfinite().all()
    assert not visible_in((400, 600), pixels, depth_m).any()


def test_project__fisheye_sees_beside_and_behind_the_image_plane() -> None:
    lens = Lens("kannala_brandt", (0.0, 0.0, 0.0, 0.0))
    angle = torch.deg2rad(torch.tensor([0.0, 89.0, 90.0, 95.0], dtype=torch.float64))
    points = torch.stack((angle.sin(), torch.zeros(4).double(), angle.cos()), dim=-1)
    matrix = torch.tensor([[100.0, 0, 200], [0, 100.0, 200], [0, 0, 1]], dtype=torch.float64)
    pixels, depth_m = project(matrix[None], points[None], numbers_of(lens))
    torch.testing.assert_close(pixels[0, :, 0], 200 + 100 * angle)
    torch.testing.assert_close(depth_m[0], torch.ones(4).double())
    assert visible_in((400, 400), pixels, depth_m).all()


@pytest.mark.parametrize(
    "made", [("kannala_brandt", (0.05, -0.01, 0.002, 0.0)), ("brown_conrady", (-0.2, 0.05, 0.001, -0.002))]
)
def test_project__single_precision_is_exact_to_a_fraction_of_a_pixel(made: Made) -> None:
    lens = Lens(*made)
    points = points_within(lens, 0.6)
    exact = project(MATRIX[None], points[None], numbers_of(lens))[0]
    single = project(MATRIX[None].float(), points[None].float(), numbers_of(lens).float())[0]
    torch.testing.assert_close(single.double(), exact, rtol=0, atol=1e-3)


def test_undistort__points_that_nothing_reaches_have_no_ray() -> None:
    fisheye, barrel = Lens("f_theta", (1.0, -0.2)), Lens("brown_conrady", (-0.3, 0.0, 0.0, 0.0))
    farthest = [float(lens.radius(np.array([lens.max_angle_rad]))[0]) for lens in (fisheye, barrel)]
    shares = torch.tensor([0.0, 0.5, 0.999, 1.01, 3.0], dtype=torch.float64)
    x = torch.tensor(farthest, dtype=torch.float64)[:, None] * shares
    _, exist = undistort(numbers_of(fisheye, barrel), x, torch.zeros_like(x))
    assert exist.tolist() == [[True, True, True, False, False]] * 2


@pytest.mark.parametrize("lens", [FISHEYE, BARREL, Lens("f_theta", (0.9, 0.05, -0.08))])
def test_project__as_the_street_world_renders(lens: Lens) -> None:
    """The street world inverts its own formulas of lenses: what a pixel shows is projected back to it."""
    optics = Optics(MATRIX.numpy() * [[1, 0, 1], [0, 1, 1], [0, 0, 1]], lens, (400, 600))
    v, u = np.mgrid[0:400:7, 0:600:7]
    shown = np.stack((u.ravel(), v.ravel()), axis=-1).astype(np.float32) + np.float32(0.5)
    directions, lit = optics.rays(shown)
    matrix = torch.from_numpy(optics.intrinsics)
    points = 5 * torch.from_numpy(directions).double()
    pixels, depth_m = project(matrix[None], points[None], numbers_of(lens))
    assert lit.mean() > 0.5
    far = np.abs(pixels[0].numpy() - shown)[lit & (depth_m[0] > 0).numpy()]
    assert np.median(far) < 1e-3
    assert far.max() < 0.1  # directions are in single precision, and the last before the border hardly move
    assert ((depth_m[0] > 0).numpy() == lit).mean() > 0.999


def test_project__reads_no_values_that_a_gpu_would_wait_for() -> None:
    """Tensors of the device `meta` have shapes and no values: whatever depends on one of these is refused."""
    lenses, matrix = numbers_of(*LENSES).to("meta"), MATRIX.expand(len(LENSES), 3, 3).to("meta")
    pixels, depth_m = project(matrix, torch.empty(len(LENSES), 7, 3, device="meta").double(), lenses)
    assert (pixels.shape, depth_m.shape) == ((len(LENSES), 7, 2), (len(LENSES), 7))
    rays, exist = undistort(lenses, pixels[..., 0], pixels[..., 1])
    assert (rays.shape, exist.shape) == ((len(LENSES), 7, 3), (len(LENSES), 7))


def test_stack_lenses__only_pinholes_are_none() -> None:
    assert stack_lenses([PINHOLE, PINHOLE]) is None
    stacked = stack_lenses([PINHOLE, Lens("f_theta", (1.0,))])
    assert stacked is not None
    assert stacked.dtype == torch.float32
