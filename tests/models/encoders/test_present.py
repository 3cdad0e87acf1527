"""Cameras that pad the rigs of a batch to one number.

For most students features and batch statistics are the same to the last digit. Layers behind the encoder
that read all cameras at once round differently: the depth of LSS, and gradients of BEVFormer's attention.
"""

from dataclasses import replace

import pytest
import torch

from occfeat.data.sample.cameras import Cameras
from occfeat.models.encoders.present import encode_present
from tests.models.rigs import SQUARE_GRID, random_cameras, rig_of, surround
from tests.models.students.test_simplebev import images_for
from tests.models.students.test_students import KINDS, small_student


def padded(cameras: Cameras, images: torch.Tensor, count: int) -> tuple[Cameras, torch.Tensor]:
    """Return the same rigs with absent cameras, `count` in all."""
    rigs = [rig_of(cameras, index).with_absent(count) for index in range(len(images))]
    black = images.new_zeros(len(images), count - images.shape[1], *images.shape[2:])
    joined = {
        name: torch.stack([getattr(rig, name) for rig in rigs])
        for name in ("intrinsics", "ego_from_camera", "present")
    }
    return replace(cameras, **joined), torch.cat((images, black), dim=1)


@pytest.mark.parametrize("train", [False, True])
@pytest.mark.parametrize("kind", KINDS)
def test_student__absent_cameras_change_nothing(kind: str, train: bool) -> None:
    found = []
    for count in (4, 7):
        student = small_student(kind, SQUARE_GRID).train(train)
        cameras = surround(4)
        images = images_for(cameras)
        cameras, images = padded(cameras, images, count)
        bev = student(images, cameras)
        bev.square().mean().backward()
        gradients = [weight.grad for weight in student.parameters()]
        found.append((bev, gradients, list(student.buffers())))
    (bev, gradients, buffers), (other_bev, other_gradients, other_buffers) = found
    assert torch.allclose(bev, other_bev, rtol=1e-5, atol=1e-5)
    assert kind == "lss" or torch.equal(bev, other_bev)
    assert all(torch.equal(one, other) for one, other in zip(buffers, other_buffers, strict=True))
    for one, other in zip(gradients, other_gradients, strict=True):
        assert (one is None) == (other is None)
        assert one is None or torch.allclose(one, other, rtol=1e-4, atol=1e-6)
        if kind.startswith("simplebev"):
            assert one is None or torch.equal(one, other)


@pytest.mark.parametrize("kind", KINDS)
def test_student__takes_rigs_of_different_size_together(kind: str) -> None:
    student = small_student(kind, SQUARE_GRID).eval()
    rigs = [surround(3), surround(6)]
    alone = [student(images_for(rig), rig) for rig in rigs]
    both = [padded(rig, images_for(rig), 6) for rig in rigs]
    cameras = replace(
        rigs[0],
        **{
            name: torch.cat([getattr(rig, name) for rig, _ in both])
            for name in ("intrinsics", "ego_from_camera", "present")
        },
    )
    together = student(torch.cat([images for _, images in both]), cameras)
    assert torch.allclose(together, torch.cat(alone), atol=1e-4)


def test_encode_present__encodes_present_images_alone_and_in_order() -> None:
    cameras = random_cameras(4, batch=2, cameras=3, image_size=(32, 56))
    assert not cameras.present.all()
    seen = []

    def encode(images: torch.Tensor) -> torch.Tensor:
        """Return the mean of each image."""
        seen.append(len(images))
        return 1 + images.float().mean(dim=(1, 2, 3))[:, None, None, None]

    images = images_for(cameras)
    maps = encode_present(encode, images, cameras.present)
    assert seen == [int(cameras.present.sum())]
    wanted = torch.where(cameras.present, 1 + images.float().mean(dim=(2, 3, 4)), torch.zeros(2, 3))
    assert torch.allclose(maps.flatten(), wanted.flatten())
