import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from occfeat.data.sample.cameras import Cameras
from occfeat.models.encoders.pyramid import PyramidEncoder
from occfeat.models.lifting.hits import QueryHits, build_hits, project_queries, stack_hits
from occfeat.models.lifting.plans import finish
from occfeat.models.students.bevformer import (
    BevFormer,
    BevSelfAttention,
    PositionEmbedding,
    SpatialCrossAttention,
)
from occfeat.settings.students import BevFormerConfig
from tests.models.rigs import SQUARE_GRID, quarter_turn, random_cameras, rig_of, surround
from tests.models.students.test_simplebev import images_for

CELLS = SQUARE_GRID.shape[0] * SQUARE_GRID.shape[1]
SIZE = (6, 8)


def small_student() -> BevFormer:
    torch.manual_seed(0)
    config = BevFormerConfig(layers=2, heads=4, bev_channels=16, image_channels=8)
    return BevFormer(PyramidEncoder("resnet18", channels=8), SQUARE_GRID, config)


def cross_attention() -> SpatialCrossAttention:
    """Its choice of positions depends on the query, as after training."""
    torch.manual_seed(0)
    attention = SpatialCrossAttention(channels=8, heads=2, heights=4, points_per_height=2)
    torch.nn.init.normal_(attention.choose.offsets.weight, std=0.3)
    torch.nn.init.normal_(attention.choose.attention.weight, std=0.5)
    return attention


def hits_of(cameras: Cameras, size: tuple[int, int] = SIZE) -> QueryHits:
    rigs = range(len(cameras.present))
    return stack_hits([finish(build_hits(rig_of(cameras, rig), size, 8, SQUARE_GRID, 4)) for rig in rigs])


def test_bevformer__shape_gradients_and_attributes() -> None:
    student, cameras = small_student(), random_cameras(2, batch=2, cameras=3, image_size=(32, 56))
    bev = student(images_for(cameras), cameras)
    assert bev.shape == (2, 16, 32, 32)
    assert student.channels == 16
    bev.square().mean().backward()
    assert [name for name, weight in student.named_parameters() if weight.grad is None] == []
    assert all(weight.grad.isfinite().all() for weight in student.parameters())


def test_bevformer__close_under_autocast() -> None:
    student, cameras = small_student().eval(), surround()
    exact = student(images_for(cameras), cameras)
    with torch.autocast("cpu", torch.bfloat16):
        rounded = student(images_for(cameras), cameras).float()
    assert (exact - rounded).abs().mean() < 0.05 * exact.abs().mean()


@given(st.integers(0, 2**20))
def test_cross_attention__as_with_all_queries_in_all_cameras(seed: int) -> None:
    cameras = random_cameras(seed, batch=2, cameras=3, image_size=(48, 64))
    attention = cross_attention()
    features = torch.randn(6, 8, *SIZE).requires_grad_()
    queries = torch.randn(2, CELLS, 8).requires_grad_()
    every = stack_hits([project_queries(rig_of(cameras, i), SIZE, 8, SQUARE_GRID, 4) for i in range(2)])
    by_output = torch.randn(2, CELLS, 8)
    results = []
    for hits in (hits_of(cameras), every):
        output = attention(queries, features, hits)
        inputs = (queries, features, *attention.parameters())
        results.append((output, *torch.autograd.grad(output, inputs, by_output)))
    for listed, plain in zip(*results, strict=True):
        assert (listed - plain).abs().max() <= 1e-4 * plain.abs().max().clamp(min=1)


def test_cross_attention__a_camera_changes_only_what_it_sees() -> None:
    cameras, attention = surround(image_size=(48, 64)), cross_attention()
    features, queries = torch.randn(6, 8, *SIZE), torch.randn(1, CELLS, 8)
    changed = features.clone()
    changed[2] = torch.randn(8, *SIZE)
    hits = hits_of(cameras)
    difference = attention(queries, features, hits) - attention(queries, changed, hits)
    seen = torch.zeros(CELLS, dtype=torch.bool)
    seen[hits.queries[0, 2][hits.shares[0, 2] > 0]] = True
    assert not difference[0][~seen].any()
    felt = difference[0].abs().amax(1) > 1e-6
    assert felt[seen].float().mean() > 0.95  # the rest look past the border of the image


@given(st.integers(0, 2**20))
def test_cross_attention__turning_rig_and_queries_turns_what_is_read(seed: int) -> None:
    cameras = random_cameras(seed, batch=1, cameras=4, image_size=(48, 64))
    attention = cross_attention()
    features = torch.randn(4, 8, *SIZE, generator=torch.Generator().manual_seed(seed))
    plane = torch.randn(1, 8, *SQUARE_GRID.bev.shape, generator=torch.Generator().manual_seed(seed + 1))

    def read(plane: torch.Tensor, cameras: Cameras) -> torch.Tensor:
        return attention(plane.flatten(2).mT, features, hits_of(cameras)).mT.view_as(plane)

    before = read(plane, cameras)
    after = read(torch.rot90(plane, 1, dims=(2, 3)), quarter_turn(cameras))
    differs = (torch.rot90(before, 1, dims=(2, 3)) - after).abs() > 1e-3
    assert differs.float().mean() < 3e-3  # a point on the very border of an image may be seen or not


def test_cross_attention__unseen_reference_points_get_no_attention() -> None:
    attention, hits = cross_attention(), hits_of(surround(image_size=(48, 64)))
    queries, features = torch.randn(1, CELLS, 8), torch.randn(6, 8, *SIZE)
    moved = torch.where(hits.seen[..., None], hits.positions, torch.full_like(hits.positions, 0.5))
    assert not torch.equal(moved, hits.positions)
    elsewhere = QueryHits(hits.queries, moved, hits.seen, hits.shares)
    assert torch.equal(attention(queries, features, hits), attention(queries, features, elsewhere))


def test_self_attention__a_cell_is_felt_where_its_neighbours_look() -> None:
    attention = BevSelfAttention(channels=8, heads=4, shape=(6, 5))
    torch.nn.init.zeros_(attention.choose.offsets.bias)  # everyone looks at the own cell
    bev = torch.randn(1, 30, 8)
    changed = bev.clone()
    changed[0, 7] += 1
    positions = torch.zeros(30, 8)
    difference = attention(bev, positions) - attention(changed, positions)
    assert difference[0].abs().amax(1).gt(1e-4).nonzero().flatten().tolist() == [7]
    with torch.no_grad():
        attention.choose.offsets.bias[0::2] = 1  # now one column further: one cell further to the left
    difference = attention(bev, positions) - attention(changed, positions)
    assert difference[0].abs().amax(1).gt(1e-4).nonzero().flatten().tolist() == [6]


def test_positions__first_half_tells_rows_apart() -> None:
    positions = PositionEmbedding((3, 4), 6)().view(3, 4, 6)
    assert torch.equal(positions[1, :, :3], positions[1, :1, :3].expand(4, 3))
    assert torch.equal(positions[:, 1, 3:], positions[:1, 1, 3:].expand(3, 3))
    assert len(positions.flatten(0, 1).unique(dim=0)) == 12


@pytest.mark.parametrize("channels", [12, 15])
def test_config__channels_that_heads_cannot_share_are_refused(channels: int) -> None:
    with pytest.raises(ValueError, match=f"8 heads as bev_channels, got {channels}"):
        BevFormerConfig(bev_channels=channels)
