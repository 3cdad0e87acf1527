"""Voxels of key frames, joined."""

import torch

from occfeat.data.sample.cameras import Cameras
from occfeat.data.sample.sample import Sample
from occfeat.pretraining.analysis.collect import BEV, STUDENT, TEACHER, Seen, collect
from occfeat.training.overlap import Overlap
from tests.support.rigs import ring_of_cameras


def seen(voxels: int, overlap: dict[str, tuple[int, int, int]]) -> Seen:
    """A key frame in which every value of a voxel is its number, or a multiple."""
    number, rig = torch.arange(voxels), ring_of_cameras(2, (4, 8))
    cameras = Cameras(rig.intrinsics[0], rig.ego_from_camera[0], rig.present[0], rig.image_size)
    features = {TEACHER: (2, 3.0), STUDENT: (2, 1.0), BEV: (5, 7.0)}
    return Seen(
        sample=Sample("token", torch.zeros(2, 3, 4, 8, dtype=torch.uint8), cameras),
        cells=number[:, None].expand(-1, 3),
        centers_ego=number[:, None].expand(-1, 3).float(),
        names=number,
        features={
            whose: number[:, None] * one * torch.ones(width) for whose, (width, one) in features.items()
        },
        centered=False,
        overlap={ring: Overlap(*map(torch.tensor, counts)) for ring, counts in overlap.items()},
    )


def test_collect__keeps_what_belongs_to_a_voxel_together() -> None:
    rings = {"0-10 m": (2, 4, 5), "10-20 m": (0, 0, 0)}
    joined = collect([seen(9, rings), seen(4, rings)], per_key_frame=6)
    assert joined.key_frame.tolist() == [0] * 6 + [1] * 4
    assert len(set(joined.names[:6].tolist())) == 6
    number = joined.names.float()
    torch.testing.assert_close(joined.distance_m, number * 2**0.5)
    for whose, (width, one) in {TEACHER: (2, 3.0), STUDENT: (2, 1.0), BEV: (5, 7.0)}.items():
        assert torch.equal(joined.features[whose], number[:, None] * one * torch.ones(width))
    assert joined.occupancy == {"0-10 m": {"iou": 4 / 14, "precision": 4 / 8, "recall": 4 / 10}}


def test_collect__draws_the_same_voxels_again() -> None:
    one, two = (collect([seen(50, {})], per_key_frame=5, seed=seed).names for seed in (3, 3))
    assert torch.equal(one, two)
    assert not torch.equal(one, collect([seen(50, {})], per_key_frame=5, seed=4).names)
