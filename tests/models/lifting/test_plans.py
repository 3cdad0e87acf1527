import torch

from occfeat.data.sample.cameras import Cameras
from occfeat.data.sample.sample import Sample, collate
from occfeat.models.lifting.plans import PlanCache
from occfeat.models.lifting.sparse import build_plan
from tests.models.rigs import SMALL_GRID, SQUARE_GRID, random_cameras, surround, with_lenses


def test_plans__same_calibration_is_planned_once() -> None:
    cache, cameras = PlanCache(build_plan), random_cameras(1, 2, 3, (32, 32))
    first = cache.plans(cameras, (4, 4), 8, SMALL_GRID)
    again = cache.plans(cameras, (4, 4), 8, SMALL_GRID)
    assert [id(plan) for plan in first] == [id(plan) for plan in again]
    assert len(cache) == 2


def test_plans__any_change_is_planned_anew() -> None:
    cache, cameras = PlanCache(build_plan), surround()
    moved, longer, absent = (
        cameras.ego_from_camera.clone(),
        cameras.intrinsics.clone(),
        cameras.present.clone(),
    )
    moved[0, 5, 0, 3] += 1e-3
    longer[0, 5, 0, 0] += 1e-3
    absent[0, 5] = False
    plans = [
        cache.plans(rig, (4, 7), 8, SMALL_GRID)[0]
        for rig in (
            cameras,
            Cameras(cameras.intrinsics, moved, cameras.present, cameras.image_size),
            Cameras(longer, cameras.ego_from_camera, cameras.present, cameras.image_size),
            Cameras(cameras.intrinsics, cameras.ego_from_camera, absent, cameras.image_size),
        )
    ]
    plans.append(cache.plans(cameras, (8, 14), 4, SMALL_GRID)[0])
    plans.append(cache.plans(cameras, (4, 7), 8, SQUARE_GRID)[0])
    assert len({id(plan) for plan in plans}) == 6


def test_plans__drops_what_was_unused_for_longest() -> None:
    cache, rigs = PlanCache(build_plan, size=2), [random_cameras(seed, 1, 2, (16, 16)) for seed in range(3)]
    first, second, _ = (cache.plans(rigs[i], (2, 2), 8, SMALL_GRID)[0] for i in (0, 1, 0))
    cache.plans(rigs[2], (2, 2), 8, SMALL_GRID)
    assert len(cache) == 2
    assert cache.plans(rigs[0], (2, 2), 8, SMALL_GRID)[0] is first
    assert cache.plans(rigs[1], (2, 2), 8, SMALL_GRID)[0] is not second


def test_plans__lenses_are_planned_anew_and_needless_ones_are_not() -> None:
    cache, cameras = PlanCache(build_plan), surround()
    plain = cache.plans(cameras, (4, 7), 8, SMALL_GRID)[0]
    bent = cache.plans(with_lenses(cameras), (4, 7), 8, SMALL_GRID)[0]
    assert bent is not plain
    both = collated(cameras, with_lenses(cameras))
    assert both.lenses is not None
    assert [id(plan) for plan in cache.plans(both, (4, 7), 8, SMALL_GRID)] == [id(plain), id(bent)]


def collated(*rigs: Cameras) -> Cameras:
    """Key frames of several rigs in one batch."""
    samples = [
        Sample(str(number), torch.zeros(rig.present.shape[1], 3, *rig.image_size, dtype=torch.uint8), one)
        for number, rig in enumerate(rigs)
        for one in [rig.of_key_frame(0)]
    ]
    return collate(samples).cameras
