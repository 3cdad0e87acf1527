"""The network that ships: what it takes for images and calibration, and what it refuses."""

import numpy as np
import pytest
import torch

from occfeat.errors import SettingsError
from occfeat.segmentation.model import BevModel, _require_calibration, _require_images
from tests.export.models import small_model
from tests.rigs import ring_of_cameras


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> BevModel:
    return small_model(tmp_path_factory.mktemp("models"), "simplebev")


def calibration() -> tuple[torch.Tensor, torch.Tensor]:
    cameras = ring_of_cameras(2, (40, 60))
    return cameras.intrinsics[0], cameras.ego_from_camera[0]


def test_predict__images_of_different_sizes(model: BevModel) -> None:
    images = [torch.zeros(3, height, 60, dtype=torch.uint8) for height in (40, 50)]
    probability = model.predict(images, *calibration())
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
    assert f"The image of camera 1 is {what}" in caught.value.message
    assert "channels first" in str(caught.value.hint)


def test_require_calibration__that_is_no_tensor() -> None:
    with pytest.raises(SettingsError, match="must be tensors"):
        _require_calibration(2, *(matrix.numpy() for matrix in calibration()))


def test_require_calibration__that_is_mirrored() -> None:
    intrinsics, ego_from_camera = calibration()
    ego_from_camera[1, :, 0] *= -1  # a camera frame with x to the left
    with pytest.raises(SettingsError, match=r"camera\(s\) \[1\] is no rigid transform") as caught:
        _require_calibration(2, intrinsics, ego_from_camera)
    assert "without mirroring" in str(caught.value.hint)
