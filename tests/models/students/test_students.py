"""What every student can do: learn a batch, and live with a camera that sees no voxel."""

import copy

import pytest
import torch
import torch.nn.functional as F

from occfeat.data.sample.cameras import Cameras
from occfeat.models.students.build import build_student
from occfeat.models.students.student import Student
from occfeat.settings.students import STUDENTS, ImageStudentConfig
from tests.models.rigs import SQUARE_GRID, blind, looking, random_cameras, rig_of, surround, with_lenses
from tests.models.students.test_simplebev import images_for
from tests.support.rigs import GRID, batch_of

KINDS = [kind for kind, settings in STUDENTS.items() if issubclass(settings, ImageStudentConfig)]
FEW = {"backbone": "resnet18", "backbone_weights": "none", "image_channels": 16, "bev_channels": 16}
OWN = {
    "simplebev": {},
    "bevformer": {"layers": 2, "heads": 4},
    "lss": {"depth_m": (1, 9), "depth_bins": 8},
    "simplebev-published": {},
}


def small_student(kind: str, grid: object) -> Student:
    torch.manual_seed(0)
    return build_student(STUDENTS[kind].model_validate(FEW | OWN[kind]), grid)


@pytest.mark.parametrize("kind", KINDS)
def test_student__overfits_a_batch(kind: str) -> None:
    batch = batch_of(key_frames=2)
    student = small_student(kind, GRID)
    head = torch.nn.Conv2d(16, 1, 1)
    optimizer = torch.optim.Adam([*student.parameters(), *head.parameters()], lr=3e-3)
    target = batch.labels.target
    for _ in range(80):
        logits = head(student(batch.images, batch.cameras))
        loss = F.binary_cross_entropy_with_logits(logits, target.float())
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert ((logits > 0) == target).float().mean() > 0.95  # empty everywhere would be 0.8


@pytest.mark.parametrize("kind", KINDS)
def test_student__learns_after_it_has_predicted(kind: str) -> None:
    student, cameras = small_student(kind, SQUARE_GRID), surround()
    with torch.inference_mode():
        student(images_for(cameras), cameras)  # makes the plan of this rig
    student(images_for(cameras), cameras).square().mean().backward()
    assert any(weight.grad is not None and weight.grad.any() for weight in student.parameters())


@pytest.mark.parametrize("kind", KINDS)
def test_student__with_a_camera_that_sees_no_voxel(kind: str) -> None:
    cameras = surround()
    poses = cameras.ego_from_camera.clone()
    poses[0, 3] = looking(180, position_m=(-50.0, 0.0, 1.5)).float()  # away from the grid
    away = Cameras(cameras.intrinsics, poses, cameras.present, cameras.image_size)
    student = small_student(kind, SQUARE_GRID).eval()
    images = images_for(away)
    bev = student(images, away)
    bev.square().mean().backward()
    assert bev.isfinite().all()
    assert all(w.grad is None or w.grad.isfinite().all() for w in student.parameters())
    changed = images.clone()
    changed[0, 3] = 255 - changed[0, 3]
    assert torch.equal(student(changed, away), bev)


@pytest.mark.parametrize("kind", KINDS)
def test_student__with_no_camera_at_all_is_finite(kind: str) -> None:
    student, cameras = small_student(kind, SQUARE_GRID), blind(surround())
    bev = student(images_for(cameras), cameras)
    bev.square().mean().backward()
    assert bev.isfinite().all()
    gradients = [weight.grad for weight in student.parameters() if weight.grad is not None]
    assert all(gradient.isfinite().all() for gradient in gradients)


@pytest.mark.parametrize("kind", KINDS)
def test_student__gives_the_same_in_a_batch_and_twice(kind: str) -> None:
    student = small_student(kind, SQUARE_GRID).eval()
    cameras = random_cameras(4, batch=2, cameras=3, image_size=(32, 56))
    images = images_for(cameras)
    together = student(images, cameras)
    for index in range(2):
        rig = rig_of(cameras, index)
        one = Cameras(rig.intrinsics[None], rig.ego_from_camera[None], rig.present[None], rig.image_size)
        assert torch.allclose(student(images[index : index + 1], one)[0], together[index], atol=1e-4)
    assert torch.equal(student(images, cameras), together)


@pytest.mark.parametrize("kind", KINDS)
def test_student__sees_through_lenses(kind: str) -> None:
    """A rig with lenses gives other features than one without, each the same alone and beside the other."""
    student = small_student(kind, SQUARE_GRID).eval()
    plain = surround()
    images, bent = images_for(plain), with_lenses(plain)
    both = Cameras(
        *(torch.cat((getattr(plain, name),) * 2) for name in ("intrinsics", "ego_from_camera", "present")),
        plain.image_size,
        torch.cat((plain.with_lenses().lenses, bent.lenses)),
    )
    together = student(images.repeat(2, 1, 1, 1, 1), both)
    for rig, expected in zip((plain, bent), together, strict=True):
        assert torch.allclose(student(images, rig)[0], expected, atol=1e-4)
    assert (together[0] - together[1]).abs().mean() > 1e-2


@pytest.mark.parametrize("kind", KINDS)
def test_student__repeats_its_gradients_to_the_bit(kind: str) -> None:
    student, cameras = small_student(kind, SQUARE_GRID), surround()
    weights = list(student.parameters())
    first, second = (
        torch.autograd.grad(student(images_for(cameras), cameras).square().mean(), weights) for _ in range(2)
    )
    assert all(torch.equal(one, other) for one, other in zip(first, second, strict=True))


@pytest.mark.parametrize("kind", KINDS)
def test_student__keeps_plans_that_are_not_weights(kind: str) -> None:
    student, cameras = small_student(kind, SQUARE_GRID), surround()
    before = set(student.state_dict())
    student(images_for(cameras), cameras)
    assert len(student.plans) == 1
    assert set(student.state_dict()) == before
    assert len(copy.deepcopy(student).plans) == 1
