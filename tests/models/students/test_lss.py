import torch

from occfeat.models.encoders.pyramid import PyramidEncoder
from occfeat.models.lifting.splatting import frustum
from occfeat.models.students.lss import Lss
from occfeat.settings.students import LssConfig
from tests.models.rigs import SQUARE_GRID, random_cameras, rig_of, surround
from tests.models.students.test_simplebev import images_for


def small_student() -> Lss:
    torch.manual_seed(0)
    config = LssConfig(image_channels=8, bev_channels=16, depth_m=(1, 9), depth_bins=8)
    return Lss(PyramidEncoder("resnet18", channels=8), SQUARE_GRID, config)


def test_lss__shape_gradients_and_attributes() -> None:
    student, cameras = small_student(), random_cameras(2, batch=2, cameras=3, image_size=(32, 56))
    bev = student(images_for(cameras), cameras)
    assert bev.shape == (2, 16, 32, 32)
    assert student.channels == 16
    bev.square().mean().backward()
    assert all(w.grad is not None and w.grad.isfinite().all() for w in student.parameters())


def test_lss__a_camera_changes_only_the_cells_its_rays_reach() -> None:
    student, cameras = small_student().eval(), surround()
    images = images_for(cameras)
    changed = images.clone()
    changed[0, 2] = 255 - changed[0, 2]
    before, after = student.lift_images(images, cameras), student.lift_images(changed, cameras)
    points, _ = frustum(rig_of(cameras), (4, 7), 8, student.bins)
    cell, inside = SQUARE_GRID.cell_index(points[2].flatten(0, 2))
    reached = torch.zeros(SQUARE_GRID.bev.shape, dtype=torch.bool)
    reached[tuple(cell[inside][:, :2].T)] = True
    assert torch.equal((before.features - after.features)[0].abs().amax(0) > 1e-6, reached)


def test_lss__forward_is_lifting_and_encoding() -> None:
    student, cameras = small_student().eval(), surround()
    lifted = student.lift_images(images_for(cameras), cameras)
    assert lifted.depth_logits.shape == (1, 6, 8, 4, 7)
    assert torch.equal(student.encode(lifted.features), student(images_for(cameras), cameras))
