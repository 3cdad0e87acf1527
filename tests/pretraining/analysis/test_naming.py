"""What voxels are: boxes before map layers, the surface of a box counted in."""

import torch
from hypothesis import given
from hypothesis import strategies as st

from occfeat.data.formats.nuscenes.source import NuScenes
from occfeat.data.keyframe import Boxes
from occfeat.geometry.frames import rotation_about_z
from occfeat.geometry.grid import VoxelGrid
from occfeat.pretraining.analysis.naming import NAMES, inside_boxes, name_voxels

GRID = VoxelGrid((-8.0, -8.0, -1.0), (8.0, 8.0, 3.0), (1.0, 1.0, 1.0))


def boxes_at(
    *positions: tuple[str, float, float, float], size_m: tuple[float, float, float] = (4, 2, 2)
) -> Boxes:
    """Boxes by category, x, y and yaw, standing on the ground."""
    count = len(positions)
    centers = torch.tensor([[x, y, size_m[2] / 2] for _, x, y, _ in positions], dtype=torch.float64)
    return Boxes(
        tokens=tuple(map(str, range(count))),
        category=tuple(category for category, *_ in positions),
        center_ego=centers.view(-1, 3),
        size_m=torch.tensor(size_m, dtype=torch.float64).expand(count, 3),
        ego_from_box=rotation_about_z(torch.tensor([yaw for *_, yaw in positions], dtype=torch.float64)),
        visibility=torch.full((count,), 4),
        lidar_points=torch.full((count,), 9),
        speed_mps=torch.zeros(count),
    )


@given(
    st.tuples(st.floats(-6, 6), st.floats(-6, 6), st.floats(-3.2, 3.2)),
    st.lists(st.tuples(st.floats(-8, 8), st.floats(-8, 8), st.floats(-1, 3)), min_size=1, max_size=8),
)
def test_inside_boxes__equals_corner_geometry(
    position: tuple[float, float, float], points: list[tuple[float, float, float]]
) -> None:
    boxes = boxes_at(("vehicle.car", *position))
    corners = boxes.corners_ego()[0]
    origin = corners[3]  # back right, below
    axes = torch.stack((corners[0] - origin, corners[2] - origin, corners[7] - origin))
    tested = torch.tensor(points, dtype=torch.float64)
    shares = (tested - origin) @ axes.T / axes.square().sum(dim=1)
    expected = ((shares >= 0) & (shares <= 1)).all(dim=1)
    border = ((shares.abs() < 1e-6) | ((shares - 1).abs() < 1e-6)).any(dim=1)
    found = inside_boxes(tested, boxes, margin_m=0.0)[:, 0]
    assert torch.equal(found[~border], expected[~border])


def test_name_voxels__boxes_before_layers_and_layers_on_the_ground_alone() -> None:
    cells = torch.tensor([[12, 8, 1], [2, 8, 0], [2, 8, 3], [8, 2, 0], [8, 14, 0]])
    layers = {name: torch.zeros(16, 16, dtype=torch.bool) for name in ("drivable_area", "ped_crossing")}
    layers["drivable_area"][:, :12] = True
    layers["ped_crossing"][8, 2] = True
    boxes = boxes_at(("vehicle.car", 4.5, 0.5, 0.3), ("human.pedestrian.adult", 90.0, 0.0, 0.0))
    named = [NAMES[number] for number in name_voxels(cells, boxes, NuScenes.taxonomy, layers, GRID)]
    assert named == ["car", "drivable_area", "other", "ped_crossing", "other"]


def test_name_voxels__without_boxes_and_maps_everything_is_other() -> None:
    named = name_voxels(torch.tensor([[1, 2, 3]]), boxes_at(), NuScenes.taxonomy, {}, GRID)
    assert [NAMES[number] for number in named] == ["other"]


def test_name_voxels__objects_of_no_class_are_not_the_road_below_them() -> None:
    cells = torch.tensor([[4, 8, 0], [12, 8, 0]])
    layers = {"drivable_area": torch.ones(16, 16, dtype=torch.bool)}
    boxes = boxes_at(("animal", -3.5, 0.5, 0.0), ("vehicle.emergency.police", 4.5, 0.5, 0.0))
    named = [NAMES[number] for number in name_voxels(cells, boxes, NuScenes.taxonomy, layers, GRID)]
    assert named == ["other", "car"]
