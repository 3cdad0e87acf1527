import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from occfeat.data.corruptions.blur import motion_blur, streak, streak_kernel
from occfeat.data.corruptions.corruptions import BLUR_RADIUS_SIGMA
from tests.data.corruptions.scene import made_up_image

IMAGE = made_up_image(60, 100)
angles = st.floats(-180, 180)


def plain_streak(values: np.ndarray, radius: int, sigma: float, angle_deg: float) -> np.ndarray:
    """The definition: one shifted copy of the image per pixel of the row, added up."""
    height, width = values.shape[:2]
    steps = np.arange(2 * radius + 1)
    weights = np.exp(-(steps**2) / (2 * sigma**2))
    blurred = np.zeros(values.shape)
    for step, weight in zip(steps, weights / weights.sum(), strict=True):
        down = int(np.ceil(step * np.sin(np.deg2rad(angle_deg)) - 0.5))
        right = int(np.ceil(step * np.cos(np.deg2rad(angle_deg)) - 0.5))
        rows = np.clip(np.arange(height) + down, 0, height - 1)
        columns = np.clip(np.arange(width) + right, 0, width - 1)
        blurred += weight * values[rows][:, columns]
    return blurred


@given(st.integers(0, 20), st.floats(1, 20), angles)
def test_streak__equals_shifted_copies(radius: int, sigma: float, angle_deg: float) -> None:
    values = IMAGE.astype(np.float32)
    expected = plain_streak(values, radius, sigma, angle_deg)
    np.testing.assert_allclose(streak(values, radius, sigma, angle_deg), expected, atol=5e-3)
    np.testing.assert_allclose(streak(values[..., 0], radius, sigma, angle_deg), expected[..., 0], atol=5e-3)


@given(st.integers(0, 20), st.floats(1, 20), angles)
@example(6, 9.0, 18.0)  # two later steps share a pixel, which then weighs more than the first
def test_streak_kernel__adds_up_to_one_and_starts_at_the_pixel(
    radius: int, sigma: float, angle_deg: float
) -> None:
    kernel, (column, row) = streak_kernel(radius, sigma, angle_deg)
    assert kernel.sum() == pytest.approx(1, abs=1e-5)
    weights = np.exp(-(np.arange(2 * radius + 1) ** 2) / (2 * sigma**2))
    assert kernel[row, column] == pytest.approx(weights[0] / weights.sum(), rel=1e-5)
    assert np.count_nonzero(kernel) <= 2 * radius + 1


def test_streak_kernel__directions() -> None:
    right, anchor = streak_kernel(2, 2.0, 0.0)
    assert (right.shape, anchor) == ((1, 5), (0, 0))
    assert (np.diff(right[0]) < 0).all()
    down, anchor = streak_kernel(2, 2.0, 90.0)
    assert (down.shape, anchor) == ((5, 1), (0, 0))
    up, anchor = streak_kernel(2, 2.0, -90.0)
    assert (up.shape, anchor) == ((5, 1), (0, 4))


def test_motion_blur__of_no_radius_changes_nothing() -> None:
    np.testing.assert_array_equal(motion_blur(IMAGE, 0, 5.0, 30.0), IMAGE)


@given(angles)
def test_motion_blur__leaves_even_images_alone(angle_deg: float) -> None:
    even = np.full((50, 50, 3), (0, 131, 255), dtype=np.uint8)
    np.testing.assert_array_equal(motion_blur(even, 15, 5.0, angle_deg), even)


@given(st.floats(-45, 45))
def test_motion_blur__is_monotone(angle_deg: float) -> None:
    """What is left of the differences between neighbours along the rows."""
    images = [IMAGE, *(motion_blur(IMAGE, *level, angle_deg) for level in BLUR_RADIUS_SIGMA)]
    sharp = [float(np.abs(np.diff(one.astype(int), axis=1)).mean()) for one in images]
    assert sharp[0] > sharp[1] > sharp[2] > sharp[3]
