import torch

from occfeat.data.sample.cameras import Cameras
from occfeat.geometry.grid import VoxelGrid
from occfeat.models.encoders.pyramid import PyramidEncoder
from occfeat.models.lifting.projection import project_voxels
from occfeat.models.students.simplebev import SimpleBev
from tests.models.rigs import SQUARE_GRID, random_cameras, rig_of, surround


def small_student(grid: VoxelGrid = SQUARE_GRID) -> SimpleBev:
    torch.manual_seed(0)
    return SimpleBev(PyramidEncoder("resnet18", channels=8), grid, channels=16)


def images_for(cameras: Cameras) -> torch.Tensor:
    shape = (*cameras.present.shape, 3, *cameras.image_size)
    return torch.randint(0, 256, shape, dtype=torch.uint8, generator=torch.Generator().manual_seed(1))


def test_simplebev__shape_gradients_and_attributes() -> None:
    student, cameras = small_student(), random_cameras(2, batch=2, cameras=3, image_size=(32, 56))
    bev = student(images_for(cameras), cameras)
    assert bev.shape == (2, 16, 32, 32)
    assert student.channels == 16
    assert student.grid == SQUARE_GRID
    bev.square().mean().backward()
    without = [name for name, weight in student.named_parameters() if weight.grad is None]
    assert without == []
    assert all(w.grad is not None and w.grad.isfinite().all() for w in student.parameters())


def test_simplebev__image_size_off_the_stride() -> None:
    student, cameras = small_student(), random_cameras(2, batch=1, cameras=2, image_size=(45, 77))
    assert student(images_for(cameras), cameras).shape == (1, 16, 32, 32)


def test_simplebev__a_camera_changes_only_what_it_sees() -> None:
    student, cameras = small_student().eval(), surround()
    images = images_for(cameras)
    changed = images.clone()
    changed[0, 2] = 255 - changed[0, 2]
    difference = student.lift_images(images, cameras) - student.lift_images(changed, cameras)
    seen = project_voxels(rig_of(cameras), SQUARE_GRID)[2][2]
    assert difference[0][:, seen].abs().amax(0).gt(1e-5).all()
    assert not difference[0][:, ~seen].any()


def test_simplebev__every_weight_is_initialized() -> None:
    """Weights that start as NaN and are not set by their module would show."""
    empty = torch.empty

    def poisoned(*args: object, **kwargs: object) -> torch.Tensor:
        made = empty(*args, **kwargs)  # type: ignore[call-overload]
        return made.fill_(float("nan")) if made.is_floating_point() and made.device.type == "cpu" else made

    torch.empty = poisoned  # type: ignore[assignment]
    try:
        student = small_student()
    finally:
        torch.empty = empty
    assert all(tensor.isfinite().all() for tensor in student.state_dict().values())
