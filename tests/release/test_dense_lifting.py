import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from occfeat.models.lifting.sampling import lift_dense
from occfeat.release.dense_lifting import feature_positions, only_seen, sample_features
from tests.models.rigs import SMALL_GRID, blind, random_cameras, rig_of, surround


@given(st.integers(0, 2**20))
def test_sample_features__as_lift_dense(seed: int) -> None:
    cameras = random_cameras(seed, batch=1, cameras=5, image_size=(48, 64))
    features = torch.randn(1, 5, 2, 6, 8, generator=torch.Generator().manual_seed(seed))
    expected = lift_dense(features, cameras, 8, SMALL_GRID)[0].flatten(1, 2)
    positions, shares = feature_positions(rig_of(cameras), (6, 8), 8, SMALL_GRID)
    assert torch.allclose(sample_features(features[0], positions, shares), expected, atol=2e-5)
    fewer = only_seen(positions, shares)
    assert torch.allclose(sample_features(features[0], *fewer), expected, atol=2e-5)


@pytest.mark.parametrize(("sees", "layers"), [(True, 2), (False, 1)])
def test_only_seen__as_many_layers_as_cameras_meet(sees: bool, layers: int) -> None:
    cameras = surround(6, focal_px=40.0)  # 70 degrees each, 60 apart
    rig = rig_of(cameras if sees else blind(cameras))
    _, shares = only_seen(*feature_positions(rig, (4, 7), 8, SMALL_GRID))
    assert len(shares) == layers
