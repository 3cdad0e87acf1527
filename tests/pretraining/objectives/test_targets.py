"""Targets against plain loops, and the geometry of teacher patches."""

import pytest
import torch

from occfeat.geometry.camera import project, visible_in
from occfeat.geometry.frames import invert, transform_points
from occfeat.models.lifting.sampling import sample_at_pixels
from occfeat.pretraining.objectives.evidence import occupancy_target
from occfeat.pretraining.objectives.features import feature_target, seen_cells
from tests.models.rigs import with_lenses
from tests.support.rigs import GRID, batch_of, ring_of_cameras


def test_occupancy_target__equals_a_loop_over_points() -> None:
    batch = batch_of(key_frames=2)
    assert batch.points is not None
    expected = torch.zeros(2, *GRID.shape, dtype=torch.bool)
    points = batch.points
    for point, key_frame in zip(points.points_ego.tolist(), points.key_frame.tolist(), strict=True):
        cell = [
            int((value - low) // size)
            for value, low, size in zip(point, GRID.lower_m, GRID.cell_m, strict=True)
        ]
        if all(0 <= index < count for index, count in zip(cell, GRID.shape, strict=True)):
            expected[(key_frame, *cell)] = True
    occupied = occupancy_target(batch.points, 2, GRID)
    assert torch.equal(occupied, expected)
    assert 50 < occupied.sum() < occupied.numel()


@pytest.mark.parametrize("lenses", [False, True])
def test_feature_target__equals_sampling_each_voxel_in_each_camera(lenses: bool) -> None:
    batch = batch_of(key_frames=2, cameras=5, teacher_size=(28, 56))
    assert batch.points is not None
    assert batch.teacher is not None
    cameras = with_lenses(batch.teacher.cameras) if lenses else batch.teacher.cameras
    cameras.present[1, 2] = False
    occupied = occupancy_target(batch.points, 2, GRID)
    maps = torch.randn(10, 6, 2, 4)
    target = feature_target(occupied, maps, cameras, GRID)
    centers = GRID.centers()
    found = {
        tuple(cell): feature for cell, feature in zip(target.cells.tolist(), target.features, strict=True)
    }
    for cell in occupied.nonzero().tolist():
        key_frame = cell[0]
        seen = []
        for camera in range(5):
            camera_from_ego = invert(cameras.ego_from_camera[key_frame, camera])
            point = transform_points(camera_from_ego, centers[cell[1], cell[2], cell[3]][None])
            lens = None if cameras.lenses is None else cameras.lenses[key_frame, camera]
            pixel, depth_m = project(cameras.intrinsics[key_frame, camera], point, lens)
            if visible_in((28, 56), pixel, depth_m) and cameras.present[key_frame, camera]:
                image = maps[key_frame * 5 + camera][None]
                seen.append(sample_at_pixels(image, pixel[None], (28, 56))[0, :, 0])
        assert (tuple(cell) in found) == bool(seen)
        if seen:
            assert torch.allclose(found[tuple(cell)], torch.stack(seen).mean(0), atol=1e-5)
    assert len(found) > 100


def test_feature_target__a_map_of_pixel_positions_gives_back_the_projection() -> None:
    image_size, patch = (112, 196), 14
    rig = ring_of_cameras(1, image_size)
    rows, columns = image_size[0] // patch, image_size[1] // patch
    v, u = torch.meshgrid(torch.arange(rows), torch.arange(columns), indexing="ij")
    maps = torch.stack(((u + 0.5) * patch, (v + 0.5) * patch))[None].float()
    occupied = torch.ones(1, *GRID.shape, dtype=torch.bool)
    target = feature_target(occupied, maps, rig, GRID)
    centers = GRID.centers()[tuple(target.cells[:, 1:].T)]
    pixels, _ = project(rig.intrinsics[0, 0], transform_points(invert(rig.ego_from_camera[0, 0]), centers))
    upper = torch.tensor((image_size[1], image_size[0])) - patch / 2
    inner = ((pixels >= patch / 2) & (pixels <= upper)).all(1)
    assert inner.sum() > 80
    assert (target.features - pixels)[inner].abs().max() < 0.01


def test_seen_cells__are_those_with_a_feature_target() -> None:
    batch = batch_of(key_frames=2, cameras=2, teacher_size=(28, 56))
    assert batch.points is not None
    assert batch.teacher is not None
    batch.teacher.cameras.present[1, 0] = False
    occupied = occupancy_target(batch.points, 2, GRID)
    target = feature_target(occupied, torch.randn(4, 6, 2, 4), batch.teacher.cameras, GRID)
    seen = seen_cells(occupied, batch.teacher.cameras, GRID)
    assert torch.equal(seen, target.cells)
    assert 20 < len(seen) < occupied.sum()


def test_feature_target__without_points_is_empty() -> None:
    occupied = torch.zeros(1, *GRID.shape, dtype=torch.bool)
    target = feature_target(occupied, torch.randn(4, 6, 2, 4), ring_of_cameras(4, (28, 56)), GRID)
    assert target.cells.shape == (0, 4)
    assert target.features.shape == (0, 6)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float32])
def test_feature_target__autocast_does_not_move_pixels(dtype: torch.dtype) -> None:
    batch = batch_of(teacher_size=(28, 56))
    assert batch.points is not None
    assert batch.teacher is not None
    occupied = occupancy_target(batch.points, 2, GRID)
    maps = torch.randn(8, 6, 2, 4)
    plain = feature_target(occupied, maps, batch.teacher.cameras, GRID)
    with torch.autocast("cpu", dtype=torch.bfloat16, enabled=dtype is torch.bfloat16):
        rounded = feature_target(occupied, maps, batch.teacher.cameras, GRID)
    assert torch.equal(plain.cells, rounded.cells)
    assert torch.equal(plain.features, rounded.features)
