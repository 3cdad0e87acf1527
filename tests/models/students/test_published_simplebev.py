import torch
from torch import nn

from occfeat.data.sample.cameras import Cameras
from occfeat.geometry.grid import build_grid
from occfeat.models.encoders.encoder import STRIDE_PX
from occfeat.models.lifting.published import lift_published
from occfeat.models.students.build import build_student
from occfeat.models.students.published_simplebev import PublishedSimpleBev
from occfeat.settings.sections import GridConfig
from occfeat.settings.students import PublishedSimpleBevConfig
from tests.models.rigs import SQUARE_GRID, random_cameras, surround
from tests.models.students.test_simplebev import images_for

SMALL = PublishedSimpleBevConfig(backbone="resnet18", image_channels=4, bev_channels=16)


def small_student() -> PublishedSimpleBev:
    torch.manual_seed(0)
    student = build_student(SMALL, SQUARE_GRID, load_backbone=False)
    assert isinstance(student, PublishedSimpleBev)
    return student


def test_published_simplebev__shape_and_gradients() -> None:
    student, cameras = small_student(), random_cameras(2, batch=2, cameras=3, image_size=(45, 77))
    bev = student(images_for(cameras), cameras)
    assert bev.shape == (2, 16, 32, 32)
    assert student.channels == 16
    bev.square().mean().backward()
    assert all(w.grad is not None and w.grad.isfinite().all() for w in student.parameters())


def test_published_simplebev__works_on_heights_from_the_top_and_gives_back_our_axes() -> None:
    student, cameras = small_student(), surround()
    student.compress = student.bev_network = nn.Identity()
    features = torch.randn(1, 6, 4, 4, 7)
    plans = student.plans.plans(cameras, (4, 7), STRIDE_PX, SQUARE_GRID, False)
    volume = lift_published(features, plans)
    stacked = student.encode_bev(features, cameras).unflatten(1, (4, 3))
    assert torch.equal(stacked.flip(2), volume)
    seen = []
    student.compress = nn.Identity()
    student.compress.register_forward_hook(lambda _, given, __: seen.append(given[0]))
    student.encode_bev(features, cameras)
    assert torch.equal(seen[0].unflatten(1, (4, 3))[:, :, 0, :, 0], volume[:, :, -1, :, -1])


def test_published_simplebev__key_frames_do_not_mix() -> None:
    student, cameras = small_student().eval(), random_cameras(5, batch=2, cameras=3, image_size=(32, 56))
    images = images_for(cameras)
    both = student(images, cameras)
    torch.testing.assert_close(student(images.flip(0), _swapped(cameras)).flip(0), both, atol=1e-4, rtol=0)


def test_published_simplebev__has_the_published_size() -> None:
    with torch.device("meta"):
        student = build_student(PublishedSimpleBevConfig(), build_grid(GridConfig()), load_backbone=False)
    parts = {name: sum(w.numel() for w in part.parameters()) for name, part in student.named_children()}
    assert parts == {"encoder": 37_038_272, "compress": 1_179_648, "bev_network": 3_223_936}


def _swapped(cameras: Cameras) -> Cameras:
    flipped = (cameras.intrinsics.flip(0), cameras.ego_from_camera.flip(0), cameras.present.flip(0))
    return Cameras(*flipped, cameras.image_size)
