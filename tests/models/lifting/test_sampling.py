import torch
from hypothesis import given
from hypothesis import strategies as st

from occfeat.models.lifting.projection import project_voxels
from occfeat.models.lifting.sampling import bilinear_taps, lift_dense, sample_at_pixels
from tests.models.rigs import SMALL_GRID, random_cameras, rig_of


def position_map(size: tuple[int, int], stride_px: int) -> torch.Tensor:
    """Features that say where in the image their cell is centred: u and v in pixels."""
    u = (torch.arange(size[1]) + 0.5) * stride_px
    v = (torch.arange(size[0]) + 0.5) * stride_px
    return torch.stack(torch.meshgrid(u, v, indexing="xy"))[None]


@given(st.integers(0, 2**20), st.integers(2, 20), st.integers(2, 30), st.sampled_from([8, 14, 16]))
def test_sample_at_pixels__recovers_positions(seed: int, h: int, w: int, stride_px: int) -> None:
    size = (h * stride_px, w * stride_px)
    random = torch.Generator().manual_seed(seed)
    inner = torch.rand(1, 50, 2, generator=random) * torch.tensor([size[1] - stride_px, size[0] - stride_px])
    pixels = inner + stride_px / 2
    sampled = sample_at_pixels(position_map((h, w), stride_px), pixels, size)
    assert (sampled.mT - pixels).abs().max() < 0.01


def test_sample_at_pixels__border_keeps_outermost_features() -> None:
    pixels = torch.tensor([[[0.0, 0.0], [1.0, 30.0], [48.0, 32.0], [60.0, 16.0]]])
    sampled = sample_at_pixels(position_map((4, 6), 8), pixels, (32, 48))
    expected = torch.tensor([[[4.0, 4.0], [4.0, 28.0], [44.0, 28.0], [44.0, 16.0]]])
    assert torch.allclose(sampled.mT, expected, atol=1e-4)


@given(st.integers(0, 2**20), st.integers(1, 5), st.integers(1, 6))
def test_bilinear_taps__read_what_sampling_reads(seed: int, h: int, w: int) -> None:
    random = torch.Generator().manual_seed(seed)
    features = torch.randn(3, 2, h, w, generator=random)
    cell = (
        torch.rand(2, 40, generator=random) * torch.tensor([[w + 1], [h + 1]]) - 1
    )  # beyond the border, too
    image = torch.randint(0, 3, (40,), generator=random)
    cells, weights = bilinear_taps(cell, image, (h, w))
    read = (features.permute(0, 2, 3, 1).reshape(-1, 2)[cells.long()] * weights[..., None]).sum(1)
    expected = sample_at_pixels(features, (cell.T + 0.5).expand(3, -1, -1), (h, w))
    assert torch.allclose(read, expected[image, :, torch.arange(40)], atol=1e-5)


@given(st.integers(0, 2**20))
def test_lift_dense__as_a_loop_over_voxels(seed: int) -> None:
    cameras = random_cameras(seed, batch=1, cameras=3, image_size=(48, 64))
    features = torch.randn(1, 3, 2, 6, 8, generator=torch.Generator().manual_seed(seed))
    volume = lift_dense(features, cameras, 8, SMALL_GRID)
    u, v, visible = project_voxels(rig_of(cameras), SMALL_GRID)
    for z, x, y in [(0, 0, 0), (1, 12, 20), (2, 8, 12), (0, 15, 3)]:
        seen = [
            sample_at_pixels(
                features[0, n : n + 1], torch.stack((u[n, z, x, y], v[n, z, x, y]))[None, None], (48, 64)
            )
            for n in range(3)
            if visible[n, z, x, y]
        ]
        expected = torch.cat(seen).mean(0)[:, 0] if seen else torch.zeros(2)
        assert torch.allclose(volume[0, :, z, x, y], expected, atol=1e-5)
