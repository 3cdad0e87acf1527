from dataclasses import replace

import torch
from hypothesis import given
from hypothesis import strategies as st

from occfeat.data.sample.cameras import Cameras
from occfeat.geometry.camera import project, visible_in
from occfeat.geometry.frames import invert, transform_points
from occfeat.geometry.lens import Lens
from occfeat.models.lifting.projection import project_voxels
from tests.models.rigs import SMALL_GRID, random_cameras, rig_of, surround, with_lenses


@given(st.integers(0, 2**20), st.booleans())
def test_project_voxels__as_geometry_in_float64(seed: int, lenses: bool) -> None:
    cameras = random_cameras(seed, batch=1, cameras=4, image_size=(48, 64))
    rig = rig_of(with_lenses(cameras) if lenses else cameras)
    u, v, visible = project_voxels(rig, SMALL_GRID)

    points = SMALL_GRID.centers().double().permute(2, 0, 1, 3).reshape(-1, 3).expand(4, -1, -1)
    pixels, depth_m = project(
        rig.intrinsics.double(),
        transform_points(invert(rig.ego_from_camera.double()), points),
        None if rig.lenses is None else rig.lenses.double(),
    )
    expected = visible_in(rig.image_size, pixels, depth_m) & rig.present[:, None]
    near_border = ((pixels.abs() < 1e-3) | ((pixels - pixels.new_tensor((64, 48))).abs() < 1e-3)).any(-1)
    assert torch.equal(visible.flatten(1) & ~near_border, expected & ~near_border)
    seen = expected & visible.flatten(1)
    found = torch.stack((u, v), dim=-1).flatten(1, 3).double()
    assert seen.sum() == 0 or (found - pixels)[seen].abs().max() < 1e-3


def test_project_voxels__absent_camera_sees_nothing() -> None:
    rig = rig_of(surround())
    absent = torch.tensor([True, False, True, True, False, True])
    lacking = Cameras(rig.intrinsics, rig.ego_from_camera, absent, rig.image_size)
    before, after = project_voxels(rig, SMALL_GRID)[2], project_voxels(lacking, SMALL_GRID)[2]
    assert before.flatten(1).any(1).all()
    assert torch.equal(after, before & absent[:, None, None, None])


def test_project_voxels__fisheye_sees_what_is_beside_it() -> None:
    """A camera that looks ahead sees voxels at its own x and a little behind, as a pinhole cannot."""
    narrow = surround(cameras=1, image_size=(64, 64), focal_px=15.0)
    wide = replace(narrow, lenses=torch.tensor([[Lens("f_theta", (1.0,)).numbers()]]))
    behind = SMALL_GRID.centers().permute(2, 0, 1, 3)[..., 0] < 0
    assert not project_voxels(rig_of(narrow), SMALL_GRID)[2][0][behind].any()
    assert project_voxels(rig_of(wide), SMALL_GRID)[2][0][behind].any()
