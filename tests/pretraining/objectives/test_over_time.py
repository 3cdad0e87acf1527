"""Features over time against plain loops, in a static world, and behind a wall."""

from dataclasses import replace

import pytest
import torch

from occfeat.data.sample.cameras import Cameras
from occfeat.data.sample.lidar import Window
from occfeat.data.sample.sample import Batch
from occfeat.data.sample.teacher import FeatureMaps, TeacherMaps, TeacherViews
from occfeat.data.sweeps.views import HIDING_CELL_PX, farthest_depth, join_views
from occfeat.geometry.camera import project, visible_in
from occfeat.geometry.frames import invert, transform_points
from occfeat.models.lifting.sampling import sample_at_pixels
from occfeat.pretraining.network import TargetMaker
from occfeat.pretraining.objectives.build import build_objectives
from occfeat.pretraining.objectives.contract import HeadShape, TeacherShape
from occfeat.pretraining.objectives.evidence import Evidence
from occfeat.pretraining.objectives.features import FeatureTarget, feature_target
from occfeat.pretraining.objectives.over_time import FeaturesOverTime, target_over_time
from occfeat.pretraining.objectives.position import UsualMaps
from occfeat.settings.sections import PretrainLossConfig
from tests.models.rigs import with_lenses
from tests.pretraining.small_networks import build_network, learn
from tests.support.rigs import GRID, batch_of, ring_of_cameras

SIZE = (28, 56)
"""Of the teacher's images: 4 x 8 cells that hide, 2 x 4 patches."""


def moved(rig: Cameras, forward_m: float) -> Cameras:
    """The same cameras, of a car that was elsewhere."""
    ego_from_camera = rig.ego_from_camera.clone()
    ego_from_camera[..., 0, 3] += forward_m
    return replace(rig, ego_from_camera=ego_from_camera)


def views_of(forward_m: tuple[float, ...], maps: torch.Tensor, depth_m: torch.Tensor) -> TeacherViews:
    """Two key frames, each seen by three cameras at each of some places; the first place is its own."""
    rig = ring_of_cameras(3, SIZE, key_frames=2)
    cameras = [moved(rig, place) for place in forward_m]
    joined = Cameras(
        torch.cat([one.intrinsics for one in cameras], dim=1),
        torch.cat([one.ego_from_camera for one in cameras], dim=1),
        torch.cat([one.present for one in cameras], dim=1),
        SIZE,
    )
    own = torch.zeros(2, 3 * len(forward_m), dtype=torch.bool)
    own[:, :3] = True
    stored = FeatureMaps(
        maps.unflatten(0, (2, -1)).movedim(2, -1), torch.ones(2, len(own[0]), *maps.shape[2:])
    )
    camera = torch.arange(3).repeat(2, len(forward_m))
    return TeacherViews(stored, joined, own, camera, depth_m)


def random_views() -> tuple[torch.Tensor, TeacherViews]:
    torch.manual_seed(0)
    maps = torch.randn(18, 6, 2, 4)
    depth_m = torch.rand(2, 9, 4, 8) * 12
    depth_m[torch.rand(depth_m.shape) < 0.3] = torch.inf
    views = views_of((0.0, -2.0, 3.0), maps, depth_m)
    views.cameras.present[1, 4] = False
    return maps, views


@pytest.mark.parametrize("lenses", [False, True])
def test_target_over_time__equals_asking_each_voxel_in_each_camera(lenses: bool) -> None:
    maps, views = random_views()
    if lenses:
        views = replace(views, cameras=with_lenses(views.cameras))
    cameras, occupied = views.cameras, torch.rand(2, *GRID.shape) < 0.3
    in_conflict, centers = torch.rand(2, *GRID.shape) < 0.3, GRID.centers()
    target = target_over_time(occupied, in_conflict, maps, views, GRID)
    found = dict(zip(map(tuple, target.cells.tolist()), target.features, strict=True))
    left_out = {"hidden": 0, "moved": 0}
    for cell in occupied.nonzero().tolist():
        key_frame, seen = cell[0], []
        for camera in cameras.present[key_frame].nonzero()[:, 0].tolist():
            camera_from_ego = invert(cameras.ego_from_camera[key_frame, camera])
            point = transform_points(camera_from_ego, centers[cell[1], cell[2], cell[3]][None])
            lens = None if cameras.lenses is None else cameras.lenses[key_frame, camera]
            pixel, depth_m = project(cameras.intrinsics[key_frame, camera], point, lens)
            if not visible_in(SIZE, pixel, depth_m):
                continue
            u, v = (pixel[0] // HIDING_CELL_PX).int().tolist()
            if depth_m > views.depth_m[key_frame, camera, v, u] + 3**0.5:
                left_out["hidden"] += 1
            elif camera >= 3 and in_conflict[tuple(cell)]:
                left_out["moved"] += 1
            else:
                seen.append(sample_at_pixels(maps[key_frame * 9 + camera][None], pixel[None], SIZE)[0, :, 0])
        assert (tuple(cell) in found) == bool(seen)
        if seen:
            assert torch.allclose(found[tuple(cell)], torch.stack(seen).mean(0), atol=1e-5)
    assert len(found) > 100
    assert min(left_out.values()) > 50


def test_target_over_time__of_the_own_cameras_alone_is_the_target_of_one_key_frame() -> None:
    maps, views = random_views()
    occupied = torch.rand(2, *GRID.shape) < 0.3
    open_view = replace(views, depth_m=torch.full_like(views.depth_m, torch.inf))
    target = target_over_time(occupied, torch.ones_like(occupied), maps, open_view, GRID)
    own = Cameras(
        views.cameras.intrinsics[:, :3],
        views.cameras.ego_from_camera[:, :3],
        views.cameras.present[:, :3],
        SIZE,
    )
    plain = feature_target(occupied, maps.unflatten(0, (2, 9))[:, :3].flatten(0, 1), own, GRID)
    assert torch.equal(target.cells, plain.cells)
    assert torch.allclose(target.features, plain.features, atol=1e-6)


def on_the_ground(cameras: Cameras, rows: int, columns: int) -> torch.Tensor:
    """Feature maps (BN, 2, rows, columns) of a flat world: where each patch sees the ground, in metres."""
    v, u = torch.meshgrid(torch.arange(rows), torch.arange(columns), indexing="ij")
    pixels = torch.stack(
        ((u + 0.5) * SIZE[1] / columns, (v + 0.5) * SIZE[0] / rows, torch.ones_like(u)), dim=-1
    )
    rays = torch.linalg.inv(cameras.intrinsics)[:, :, None, None] @ pixels[..., None]
    rays = cameras.ego_from_camera[:, :, None, None, :3, :3] @ rays
    origin = cameras.ego_from_camera[:, :, None, None, :3, 3]
    below_m = origin[..., 2] - GRID.centers()[0, 0, 1, 2]
    down = -rays[..., 2, 0]
    far = below_m / down.clamp(min=0.05)
    hit = origin[..., :2] + far[..., None] * rays[..., :2, 0]
    return hit.flatten(0, 1).movedim(-1, 1)


def test_target_over_time__of_a_static_world_agrees_with_one_key_frame() -> None:
    rows, columns = 28, 56
    still = torch.full((2, 9, 4, 8), torch.inf)
    views = views_of((0.0, -2.0, 3.0), torch.zeros(18, 2, rows, columns), still)
    maps = on_the_ground(views.cameras, rows, columns)
    occupied = torch.zeros(2, *GRID.shape, dtype=torch.bool)
    occupied[:, :, :, 1] = True  # the ground
    nothing = torch.zeros_like(occupied)
    over_time = target_over_time(occupied, nothing, maps, views, GRID)
    alone = target_over_time(occupied, ~nothing, maps, views, GRID)
    assert len(over_time.cells) > len(alone.cells) + 20  # other places see more
    for target in (over_time, alone):
        near = _near(target)
        centers = GRID.centers()[tuple(target.cells[:, 1:].T)][:, :2]
        apart_m = (target.features - centers).norm(dim=1)[near]
        assert apart_m.median() < 0.2
        assert near.sum() > 50


def _near(target: FeatureTarget) -> torch.Tensor:
    """Voxels near enough for the ground in their pixel to be about theirs."""
    centers = GRID.centers()[tuple(target.cells[:, 1:].T)][:, :2]
    return centers.norm(dim=1) < 6


def test_farthest_depth__hides_what_is_behind_a_wall() -> None:
    rig = ring_of_cameras(2, SIZE).of_key_frame(0)
    y, z = torch.meshgrid(torch.linspace(-5, 5, 60), torch.linspace(-2, 5, 60), indexing="ij")
    wall = torch.stack((torch.full_like(y, 5.0), y, z), dim=-1).flatten(0, 1)
    behind = wall[::7] + torch.tensor([20.0, 0, 0])
    depth_m = farthest_depth(wall, rig)
    assert depth_m.shape == (2, 4, 8)
    assert depth_m[1].isinf().all()  # looks back
    assert torch.allclose(depth_m[0], torch.tensor(4.0))
    assert (farthest_depth(torch.cat((wall, behind)), rig)[0] == 24).any()
    assert farthest_depth(torch.zeros(0, 3), rig).isinf().all()
    rig.present[0] = False
    assert farthest_depth(wall, rig).isinf().all()


def test_hidden__voxels_behind_a_wall_have_no_target() -> None:
    rig = ring_of_cameras(1, SIZE).of_key_frame(0)
    y, z = torch.meshgrid(torch.linspace(-5, 5, 60), torch.linspace(-2, 5, 60), indexing="ij")
    wall = torch.stack((torch.full_like(y, 4.0), y, z), dim=-1).flatten(0, 1)
    one = TeacherViews(
        FeatureMaps(torch.ones(1, 2, 4, 6), torch.ones(1, 2, 4)),
        rig,
        torch.ones(1, dtype=torch.bool),
        torch.zeros(1, dtype=torch.int64),
        farthest_depth(wall, rig),
    )
    views = join_views([one])
    batched = TeacherViews(
        views.maps,
        Cameras(rig.intrinsics[None], rig.ego_from_camera[None], rig.present[None], SIZE),
        views.own[None],
        views.camera[None],
        views.depth_m[None],
    )
    occupied = torch.ones(1, *GRID.shape, dtype=torch.bool)
    target = target_over_time(occupied, ~occupied, torch.ones(1, 6, 2, 4), batched, GRID)
    forward_m = GRID.centers()[tuple(target.cells[:, 1:].T)][:, 0]
    assert 5.0 <= forward_m.max() <= 4.0 + 3**0.5 + 0.5
    assert len(target.cells) > 20


def batch_with_views() -> Batch:
    maps, views = random_views()
    states = torch.randint(0, 8, (2, *GRID.shape), dtype=torch.uint8)
    states[(states & 3) == 3] = 2
    window = Window(states, torch.tensor([5, 5]), torch.tensor([0, 0]))
    stored = FeatureMaps(maps.unflatten(0, (2, 9)).movedim(2, -1)[..., :5], views.maps.scales)
    return replace(batch_of(cameras=3), teacher=replace(views, maps=stored), window=window)


def test_step__learns_features_over_time_of_occupied_voxels() -> None:
    loss = PretrainLossConfig(occupancy=1.0, features=1.0, window_s=0.5, features_window_s=0.6)
    network, batch = build_network(loss), batch_with_views()
    assert isinstance(network.objectives[1], FeaturesOverTime)
    targets = TargetMaker(network.objectives, GRID)(batch)
    assert batch.window is not None
    cells = targets["features"].cells
    assert batch.window.occupied[tuple(cells.T)].all()
    assert len(cells) > 100
    steps = learn(network, batch, targets, steps=40, rate=0.02)
    cosines = [step["cosine"] for step in steps]
    assert cosines[-1] > cosines[0] + 0.2


def test_target__without_other_key_frames_is_that_of_the_key_frame_itself() -> None:
    objective = FeaturesOverTime(1.0)
    batch = batch_with_views()
    assert isinstance(batch.teacher, TeacherViews)
    cameras = batch.teacher.cameras
    own = Cameras(cameras.intrinsics[:, :3], cameras.ego_from_camera[:, :3], cameras.present[:, :3], SIZE)
    maps = FeatureMaps(batch.teacher.maps.values[:, :3], batch.teacher.maps.scales[:, :3])
    alone = replace(batch, teacher=TeacherMaps(maps, own))
    evidence = TargetMaker([objective], GRID).evidence(alone)
    plain = feature_target(evidence.occupied, evidence.teacher_maps, own, GRID)
    assert torch.equal(objective.target(evidence).features, plain.features)


def test_position__is_taken_off_each_view_before_the_views_are_averaged() -> None:
    batch, usual = batch_with_views(), torch.randn(1, 3, 5, 2, 4)
    evidence = Evidence(batch, GRID, None, UsualMaps(("",), usual))
    views = batch.teacher
    assert isinstance(views, TeacherViews)
    plain = views.maps.decode()
    for number in range(2):
        for view, camera in enumerate((0, 1, 2) * 3):
            found = evidence.teacher_maps.unflatten(0, (2, 9))[number, view]
            assert torch.allclose(found, plain[number, view] - usual[0, camera])
    own, present = evidence.own_maps()
    assert own.shape == (2, 3, 5, 2, 4)
    assert torch.equal(own.flatten(0, 1), evidence.teacher_maps.unflatten(0, (2, 9))[:, :3].flatten(0, 1))
    assert present.all()


def test_position__is_surveyed_from_the_key_frames_own_cameras() -> None:
    loss = PretrainLossConfig(features=1.0, center="position", window_s=0.5, features_window_s=0.6)
    objective = build_objectives(loss)[1]
    sees = TeacherShape((5,), cameras=3, patches=(2, 4))
    output = objective.build_output(HeadShape(4, 8, GRID.shape[2], sees))
    batch = batch_with_views()
    objective.prepare(output, [Evidence(batch, GRID)])
    assert isinstance(batch.teacher, TeacherViews)
    assert torch.allclose(output.position, batch.teacher.maps.decode()[:, :3].mean(dim=0), atol=1e-6)
