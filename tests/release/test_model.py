"""The network that ships: what it takes for images and calibration, and what it refuses."""

import numpy as np
import pytest
import torch

from occfeat.errors import SettingsError
from occfeat.geometry.frames import invert
from occfeat.geometry.grid import BevGrid
from occfeat.geometry.lens import PINHOLE, Lens
from occfeat.release.model import (
    BevModel,
    _require_calibration,
    _require_ground,
    _require_images,
    _require_lenses,
)
from tests.release.models import small_model
from tests.support.rigs import ring_of_cameras


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> BevModel:
    return small_model(tmp_path_factory.mktemp("models"), "simplebev")


def calibration() -> tuple[torch.Tensor, torch.Tensor]:
    cameras = ring_of_cameras(2, (40, 60))
    return cameras.intrinsics[0], cameras.ego_from_camera[0]


def test_predict__images_of_different_sizes(model: BevModel) -> None:
    images = [torch.zeros(3, height, 60, dtype=torch.uint8) for height in (40, 50)]
    predicted = model.predict(images, *calibration())
    assert tuple(predicted) == model.classes
    for probability in predicted.values():
        assert probability.shape == model.grid.shape
        assert ((probability >= 0) & (probability <= 1)).all()


@pytest.mark.parametrize(
    ("image", "what"),
    [
        (torch.rand(3, 40, 60), "torch.float32 of shape (3, 40, 60)"),
        (torch.zeros(1, 40, 60, dtype=torch.uint8), "torch.uint8 of shape (1, 40, 60)"),
        (torch.zeros(40, 60, 3, dtype=torch.uint8), "torch.uint8 of shape (40, 60, 3)"),
        (torch.zeros(3, 0, 60, dtype=torch.uint8), "torch.uint8 of shape (3, 0, 60)"),
        (np.zeros((3, 40, 60), dtype=np.uint8), "a ndarray"),
    ],
)
def test_require_images__what_is_no_rgb_image(image: object, what: str) -> None:
    right = torch.zeros(3, 40, 60, dtype=torch.uint8)
    with pytest.raises(SettingsError) as caught:
        _require_images([right, image])
    assert f"as image 1, got {what}" in caught.value.message
    assert "channels first" in str(caught.value.hint)


def test_predict__through_lenses(model: BevModel) -> None:
    images = [torch.randint(0, 256, (3, 40, 60), dtype=torch.uint8) for _ in range(2)]
    plain = model.predict(images, *calibration())
    pinholes = model.predict(images, *calibration(), lenses=[PINHOLE, PINHOLE])
    bent = model.predict(images, *calibration(), lenses=[PINHOLE, Lens("f_theta", (0.8,))])
    for name, probability in plain.items():
        assert torch.equal(pinholes[name], probability)
        assert not torch.allclose(bent[name], probability, atol=1e-4)


@pytest.mark.parametrize("lenses", [[PINHOLE], [None, None], PINHOLE, "pinhole"])
def test_predict__refuses_what_are_no_lenses(model: BevModel, lenses: object) -> None:
    with pytest.raises(SettingsError, match="Expected"):
        _require_lenses(2, lenses)


def test_require_ground__fisheye_that_looks_up_sees_ground_beside_it(model: BevModel) -> None:
    """At the zenith, no pinhole sees the ground; a fisheye of 190 degrees does."""
    up = torch.eye(4)
    up[2, 3] = 1.5
    images = [torch.zeros(3, 60, 60, dtype=torch.uint8)]
    matrix = torch.tensor([[[15.0, 0, 30], [0, 15, 30], [0, 0, 1]]])
    with pytest.raises(SettingsError, match="see no ground"):
        model.predict(images, matrix, up[None])
    model.predict(images, matrix, up[None], lenses=[Lens("f_theta", (1.0,))])


def test_require_calibration__that_is_no_tensor() -> None:
    with pytest.raises(SettingsError, match="Expected tensors"):
        _require_calibration(2, *(matrix.numpy() for matrix in calibration()))


def test_require_calibration__that_is_mirrored() -> None:
    intrinsics, ego_from_camera = calibration()
    ego_from_camera[1, :, 0] *= -1  # a camera frame with x to the left
    with pytest.raises(SettingsError, match=r"camera\(s\) \[1\] is not a rigid transform") as caught:
        _require_calibration(2, intrinsics, ego_from_camera)
    assert "without mirroring" in str(caught.value.hint)


def front_pose() -> torch.Tensor:
    """A camera that looks forward from 1.7 m before the ego origin, 1.5 m above the ground."""
    return torch.tensor([[0.0, 0, 1, 1.7], [-1, 0, 0, 0], [0, -1, 0, 1.5], [0, 0, 0, 1]])


def in_millimetres() -> torch.Tensor:
    pose = front_pose()
    pose[:3, 3] *= 1000
    return pose


@pytest.mark.parametrize(
    ("pose", "where"),
    [
        (in_millimetres(), "is at (1700.00, 0.00, 1500.00) m and looks along (1.00, 0.00, 0.00)"),
        (torch.eye(4), "looks along (0.00, 0.00, 1.00)"),  # at the sky
        (invert(front_pose()), "is at (0.00, 1.50, -1.70) m"),
    ],
)
def test_predict__a_camera_that_sees_no_ground_is_refused(
    model: BevModel, pose: torch.Tensor, where: str
) -> None:
    intrinsics, ego_from_camera = calibration()
    ego_from_camera[1] = pose
    with pytest.raises(SettingsError, match=r"Camera\(s\) \[1\] see no ground within 8 m") as caught:
        model.predict(torch.zeros(2, 3, 40, 60, dtype=torch.uint8), intrinsics, ego_from_camera)
    assert where in caught.value.first[0]
    assert "not its inverse" in caught.value.hint


def test_require_ground__a_grid_ahead_alone_takes_cameras_that_look_back() -> None:
    cameras = ring_of_cameras(6, (40, 60)).of_key_frame(0)
    _require_ground(cameras, BevGrid((4.0, -8.0), (20.0, 8.0), (1.0, 1.0)))
