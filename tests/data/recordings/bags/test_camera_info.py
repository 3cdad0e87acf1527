"""Intrinsics and lenses of CameraInfo: what OpenCV computes from it, half a pixel apart."""

from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from occfeat.data.recordings.bags.bag import open_bag
from occfeat.data.recordings.bags.camera_info import CameraModel, is_rectified, read_camera_info
from occfeat.errors import MessageError
from occfeat.geometry.lens import PINHOLE
from tests.support.recordings.bag_writer import FORMS, BagFile, Form

K = np.array([[50.0, 0, 31.5], [0, 52.0, 19.5], [0, 0, 1]])
P = np.array([[45.0, 0, 30, -4.5], [0, 46.0, 20, 0], [0, 0, 1, 0]])
SIZE = (40, 64)


def model(
    path: Path, *, rectified: bool = False, form: Form = "mcap", k: np.ndarray = K, **fields: Any
) -> CameraModel:
    with BagFile(path, form) as bag:
        info = bag.camera_info(1_000_000, "/cam", SIZE, k, **fields)
        bag.write("/cam/camera_info", "sensor_msgs/msg/CameraInfo", 7, info)
    with open_bag([bag.path]) as opened:
        (message,) = opened.messages(["/cam/camera_info"])
        return read_camera_info(message, rectified=rectified)


@pytest.mark.parametrize("form", FORMS)
def test_raw_images__use_k_and_d(tmp_path: Path, form: Form) -> None:
    found = model(tmp_path / "bag", form=form, d=[0.1, -0.2, 0.01, 0.02, 0.3], p=P)
    np.testing.assert_array_equal(found.intrinsics, [[50, 0, 32], [0, 52, 20], [0, 0, 1]])
    assert (found.lens.model, found.lens.coefficients) == ("brown_conrady", (0.1, -0.2, 0.01, 0.02, 0.3))
    assert (found.size, found.header.frame) == (SIZE, "cam")


def test_rectified_images__use_p_without_distortion(tmp_path: Path) -> None:
    turn = cv2.Rodrigues(np.array([0.0, np.radians(2), 0]))[0]
    found = model(tmp_path / "bag", rectified=True, d=[0.1, 0, 0, 0, 0], p=P, r=turn.ravel())
    np.testing.assert_array_equal(found.intrinsics, [[45, 0, 30.5], [0, 46, 20.5], [0, 0, 1]])
    assert found.lens == PINHOLE
    assert found.rectification_deg == pytest.approx(2)


@pytest.mark.parametrize(
    ("topic", "rectified"),
    [
        ("/cam/image_rect/compressed", True),
        ("/cam/image_rect_color", True),
        ("/cam/image_raw/compressed", False),
        ("/image_rectifier/image", True),
        ("/my_image_rect/image", False),
    ],
)
def test_topic__says_whether_images_are_rectified(topic: str, rectified: bool) -> None:
    assert is_rectified(topic) is rectified


@pytest.mark.parametrize(
    ("name", "d", "lens"),
    [
        ("plumb_bob", [0, 0, 0, 0, 0], ("pinhole", ())),
        ("", [], ("pinhole", ())),
        ("plumb_bob", [0.1, 0.2, 0.3, 0.4], ("brown_conrady", (0.1, 0.2, 0.3, 0.4))),
        ("plumb_bob", [0.1, 0.2], ("brown_conrady", (0.1, 0.2, 0, 0))),
        ("rational_polynomial", [0.1] * 8, ("brown_conrady", (0.1,) * 8)),
        ("rational_polynomial", [0.1] * 8 + [0] * 6, ("brown_conrady", (0.1,) * 8)),
        ("equidistant", [0.01, 0.02, 0.03, 0.04], ("kannala_brandt", (0.01, 0.02, 0.03, 0.04))),
        ("equidistant", [0, 0, 0, 0], ("kannala_brandt", (0, 0, 0, 0))),
        ("Equidistant", [0.01, 0.02, 0.03, 0.04, 0], ("kannala_brandt", (0.01, 0.02, 0.03, 0.04))),
    ],
)
def test_model_of_ros__is_one_of_ours(
    tmp_path: Path, name: str, d: list[float], lens: tuple[str, tuple[float, ...]]
) -> None:
    found = model(tmp_path / "bag", model=name, d=d).lens
    assert (found.model, found.coefficients) == lens


def test_binning_and_region__give_the_pixels_that_are_stored(tmp_path: Path) -> None:
    roi = {"x_offset": 10, "y_offset": 4, "width": 40, "height": 20}
    found = model(tmp_path / "bag", binning_x=2, binning_y=4, roi=roi)
    assert found.size == (5, 20)
    # OpenCV projects to the full image; there, stored pixel (u, v) begins at (10 + 2 u, 4 + 4 v)
    point = np.array([[[0.3, -0.1, 1.0]]])
    full_px = cv2.projectPoints(point, np.zeros(3), np.zeros(3), K, None)[0].ravel() + 0.5
    stored_px = (found.intrinsics @ point.ravel())[:2]
    np.testing.assert_allclose(stored_px, (full_px - (10, 4)) / (2, 4))


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"k": np.zeros((3, 3))}, "not calibrated"),
        ({"k": np.full((3, 3), np.nan)}, "not calibrated"),
        ({"rectified": True, "p": np.zeros((3, 4))}, "not calibrated"),
        ({"model": "mei", "d": [0.1]}, "Distortion model 'mei' is not known"),
        ({"model": "plumb_bob", "d": [0.1] * 6}, "at most 5 coefficients"),
        ({"model": "rational_polynomial", "d": [0.1] * 12}, "at most 8 coefficients"),
        ({"d": [float("nan"), 0, 0, 0]}, "finite coefficients"),
    ],
)
def test_camera_that_cannot_be_used__is_refused_by_name(
    tmp_path: Path, fields: dict[str, Any], message: str
) -> None:
    with pytest.raises(MessageError, match=message):
        model(tmp_path / "bag", **fields)
