import torch
from hypothesis import given
from hypothesis import strategies as st

from occfeat.geometry.camera import project, visible_in
from occfeat.geometry.frames import invert, transform_points
from occfeat.models.lifting.hits import build_hits, project_queries, stack_hits
from occfeat.models.lifting.plans import finish
from tests.models.rigs import SMALL_GRID, SQUARE_GRID, blind, random_cameras, rig_of, surround


@given(st.integers(0, 2**20), st.integers(1, 4))
def test_hits__are_the_queries_with_a_reference_point_in_the_image(seed: int, heights: int) -> None:
    rig = rig_of(random_cameras(seed, batch=1, cameras=3, image_size=(48, 64)))
    hits = finish(build_hits(rig, (6, 8), 8, SMALL_GRID, heights))
    lower, upper = SMALL_GRID.lower_m[2], SMALL_GRID.upper_m[2]
    z = lower + (torch.arange(heights) + 0.5) * (upper - lower) / heights
    plane = SMALL_GRID.bev.centers().flatten(0, 1)
    points = torch.cat((plane[:, None].expand(-1, heights, 2), z.expand(len(plane), -1)[..., None]), -1)
    points_camera = transform_points(invert(rig.ego_from_camera), points.flatten(0, 1).expand(3, -1, 3))
    pixels, depth_m = project(rig.intrinsics, points_camera)
    seen = visible_in((48, 64), pixels, depth_m).view(3, -1, heights) & rig.present[:, None, None]
    differing = 0  # a point on the very border of an image may be seen or not
    for camera in range(3):
        listed = hits.queries[camera][hits.shares[camera] > 0]
        differing += len(set(listed.tolist()) ^ set(seen[camera].any(1).nonzero()[:, 0].tolist()))
    assert differing <= 2
    total = torch.zeros(len(plane)).index_add(0, hits.queries.flatten(), hits.shares.flatten())
    assert ((total - seen.any(2).any(0).float()).abs() > 1e-5).sum() <= 2


def test_hits__are_a_part_of_all_queries() -> None:
    rig = rig_of(surround())
    hits = finish(build_hits(rig, (4, 7), 8, SQUARE_GRID, 4))
    every = project_queries(rig, (4, 7), 8, SQUARE_GRID, 4)
    assert hits.queries.shape[1] < 0.5 * every.queries.shape[1]
    for camera in range(6):
        rows = hits.queries[camera]
        assert len(rows.unique()) == len(rows)
        assert torch.equal(hits.positions[camera], every.positions[camera][rows])
        assert torch.equal(hits.seen[camera], every.seen[camera][rows])
        assert torch.equal(hits.shares[camera], every.shares[camera][rows])
    assert hits.shares.sum() == every.shares.sum()
    assert hits.positions.min() >= 0
    assert hits.positions.max() <= 1


def test_hits__no_camera_sees_anything() -> None:
    rig = rig_of(blind(random_cameras(1, 1, 2, (32, 32))))
    hits = finish(build_hits(rig, (4, 4), 8, SMALL_GRID, 4))
    assert hits.queries.shape == (2, 1)
    assert not hits.seen.any()
    assert not hits.shares.any()
    assert hits.positions.isfinite().all()


def test_stack_hits__fills_up_the_shorter_list() -> None:
    cameras = random_cameras(3, 2, 3, (48, 64))
    rigs = [finish(build_hits(rig_of(cameras, index), (6, 8), 8, SMALL_GRID, 4)) for index in range(2)]
    both = stack_hits(rigs)
    for index, rig in enumerate(rigs):
        length = rig.queries.shape[1]
        assert torch.equal(both.queries[index, :, :length], rig.queries)
        assert torch.equal(both.positions[index, :, :length], rig.positions)
        assert not both.shares[index, :, length:].any()
