"""Map labels of key frames: which map they come from, in which frame, and what is said if there is none."""

import math
import pickle
from pathlib import Path
from typing import get_args

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from occfeat.data.dataset import BrokenKeyFrame, Draw, KeyFrames
from occfeat.data.formats.nuscenes.base_map import BaseMap
from occfeat.data.index.index import Index
from occfeat.data.labels import CLASSES, draw_labels
from occfeat.data.maps.maps import cells_from_global, find_ground, require_maps
from occfeat.data.maps.masks import LAYERS, ShapeMap
from occfeat.data.sample.contents import Contents
from occfeat.data.sample.sample import Sample
from occfeat.errors import DatasetError, KeyFrameError, SettingsError
from occfeat.geometry.frames import (
    from_rotation,
    rotation_about_z,
    rotation_from_quaternion,
    transform_points,
)
from occfeat.geometry.grid import BevGrid, VoxelGrid
from occfeat.settings.commands import ClassName
from occfeat.settings.sections import AugmentConfig, DataConfig, ViewConfig
from tests.support.map_files import crossroads, make_expansion, rectangle, write_base_map, write_expansion
from tests.support.nuscenes_folder import Records, edit_table

GRID = VoxelGrid((-32.0, -24.0, -1.0), (32.0, 24.0, 3.0), (0.5, 1.0, 1.0))
VIEW = ViewConfig(image_size=(48, 80))
ONE = torch.eye(4, dtype=torch.float64)
CAR = (1010.0, 500.5)
"""Where the car of the small data folder is at its first key frame, nearly."""


def opened(folder: Path) -> Index:
    return Index.open(DataConfig(root=folder))


def labels_of(index: Index, *classes: str, augment: AugmentConfig | None = None) -> Sample:
    key_frames = KeyFrames(index, VIEW, Contents(classes=classes), grid=GRID, augment=augment, seed=3)
    sample = key_frames.read(Draw(0, 0))
    assert isinstance(sample, Sample)
    return sample


def transform(yaw: float, x: float, y: float, mirror: tuple[int, int] = (1, 1)) -> torch.Tensor:
    turn = rotation_about_z(torch.tensor(yaw, dtype=torch.float64))
    flip = torch.diag(torch.tensor([*mirror, 1], dtype=torch.float64))
    return from_rotation(flip @ turn, torch.tensor([x, y, 0], dtype=torch.float64))


def test_settings__know_every_class() -> None:
    assert get_args(ClassName) == CLASSES


@given(
    st.floats(-4, 4), st.floats(-2e3, 2e3), st.floats(-2e3, 2e3), st.floats(-4, 4),
    st.sampled_from([(1, 1), (-1, 1), (1, -1), (-1, -1)]),
)  # fmt: skip
def test_cells_from_global__takes_the_centre_of_every_cell_to_its_middle(
    yaw: float, x: float, y: float, turn: float, mirror: tuple[int, int]
) -> None:
    global_from_ego, new_ego_from_ego = transform(yaw, x, y), transform(turn, 0, 0, mirror)
    grid = BevGrid((-8.0, -3.0), (4.0, 5.0), (2.0, 0.5))
    centers = torch.cat((grid.centers().double().reshape(-1, 2), torch.zeros(96, 1)), dim=1).double()
    centers_global = transform_points(global_from_ego @ torch.linalg.inv(new_ego_from_ego), centers).numpy()
    matrix = cells_from_global(global_from_ego, new_ego_from_ego, grid)
    cells = centers_global[:, :2] @ matrix[:2, :2].T + matrix[:2, 2]
    x_cells, y_cells = np.meshgrid(np.arange(6) + 0.5, np.arange(16) + 0.5, indexing="ij")
    np.testing.assert_allclose(cells, np.column_stack((x_cells.ravel(), y_cells.ravel())), atol=1e-8)


def test_cells_from_global__roll_and_pitch_do_not_count() -> None:
    """On a slope the map is not squeezed."""
    leaning = from_rotation(
        rotation_from_quaternion(torch.tensor([1.0, 0.05, 0.1, 0.6], dtype=torch.float64)),
        torch.tensor([3.0, 4, 50], dtype=torch.float64),
    )
    yaw = math.atan2(leaning[1, 0].item(), leaning[0, 0].item())
    np.testing.assert_allclose(
        cells_from_global(leaning, ONE, GRID.bev),
        cells_from_global(transform(yaw, 3, 4), ONE, GRID.bev),
        atol=1e-12,
    )


def test_labels__lie_where_the_map_has_them(folder: Path) -> None:
    """A walkway ahead to the left of the car, which heads along the map's x."""
    index = opened(folder)
    x, y = index.key_frame(0).global_from_ego[:2, 3].tolist()
    write_expansion(folder, make_expansion(walkway=[[rectangle(x + 8, y + 10, 6, 4)]]))
    labels = labels_of(index, "walkway").labels
    assert labels is not None
    middle = labels.target[0].nonzero().double().mean(dim=0)
    ego = torch.tensor([-32.0, -24]) + (middle + 0.5) * torch.tensor([0.5, 1])
    assert ego.tolist() == pytest.approx([11 + 1.2, 12 - 1.1], abs=0.8)  # turned by 0.1 about the car


def test_labels__classes_in_any_order_on_one_head(folder: Path) -> None:
    write_expansion(folder, crossroads(*CAR))
    index = opened(folder)
    classes = ("divider", "vehicle", "drivable_area", "pedestrian")
    labels = labels_of(index, *classes).labels
    assert labels is not None
    assert labels.classes == classes
    boxes, taxonomy = index.key_frame(0).boxes, index.source.taxonomy
    alone = draw_labels(boxes, taxonomy, ONE, GRID.bev, ("vehicle", "pedestrian"))
    torch.testing.assert_close(labels.target[[1, 3]], alone.target)
    torch.testing.assert_close(labels.low_visibility[[1, 3]], alone.low_visibility)
    assert alone.low_visibility.any()
    assert labels.target[[0, 2]].flatten(1).any(dim=1).all()
    assert not labels.low_visibility[[0, 2]].any()


def test_labels__follow_the_augmentation(folder: Path) -> None:
    """Vehicles on a car park stay on it when the ego frame is turned and mirrored."""
    index = opened(folder)
    footprints = index.key_frame(0).boxes.footprint_ego()
    corners = torch.cat((footprints.flatten(0, 1), torch.zeros(len(footprints) * 4, 1)), dim=1).double()
    outlines = transform_points(index.key_frame(0).global_from_ego, corners).reshape(-1, 4, 3)[..., :2]
    write_expansion(folder, make_expansion(carpark_area=[[outline.tolist()] for outline in outlines]))
    augment = AugmentConfig(bev_flip=True, bev_rotation_deg=180)
    labels = labels_of(index, "vehicle", "carpark_area", augment=augment).labels
    assert labels is not None
    vehicle, carpark = labels.target
    assert vehicle.sum() > 50
    # drawn with rows and columns swapped, borders may differ by a cell
    assert (vehicle & ~carpark).sum() < 0.1 * vehicle.sum()


def test_dataset__stays_small_for_the_processes_that_load(folder: Path) -> None:
    write_expansion(folder, crossroads(*CAR))
    key_frames = KeyFrames(opened(folder), VIEW, Contents(classes=LAYERS), grid=GRID)
    assert isinstance(key_frames.read(Draw(0, 0)), Sample)
    assert len(pickle.dumps(key_frames)) < 3000
    again = pickle.loads(pickle.dumps(key_frames)).read(Draw(0, 0))
    assert isinstance(again, Sample)


def test_find_ground__base_map_for_drivable_area_alone(folder: Path) -> None:
    white = np.zeros((6000, 11000), dtype=bool)
    white[::-1][4800:5200, 10000:10500] = True  # rows go down: y from 480 to 520 m, x from 1000 to 1050 m
    write_base_map(folder / "maps" / "empty.png", white)
    index = opened(folder)
    assert find_ground(index.source, index.key_frame(0), ("vehicle",)) is None
    ground = find_ground(index.source, index.key_frame(0), ("vehicle", "drivable_area"))
    assert ground is not None
    assert isinstance(ground.map, BaseMap)
    labels = labels_of(index, "drivable_area").labels
    assert labels is not None
    assert labels.target[0, 64:, 12:36].all()
    write_expansion(folder, crossroads(*CAR))
    with_expansion = find_ground(index.source, index.key_frame(0), ("drivable_area",))
    assert with_expansion is not None
    assert isinstance(with_expansion.map, ShapeMap)


def test_require_maps__says_what_is_missing_and_where_to_get_it(folder: Path) -> None:
    index, (_, *others) = opened(folder), LAYERS
    require_maps(index.source, index.places(index.rows("all")), ("vehicle", "pedestrian"))
    for layers in (others, LAYERS, ("vehicle", "walkway")):
        with pytest.raises(SettingsError) as caught:
            require_maps(index.source, index.places(index.rows("all")), layers)
        for part in ("walkway", "singapore-onenorth", str(folder), "maps/expansion", "nuscenes.org", "1.3"):
            assert part in str(caught.value)
    (folder / "maps" / "empty.png").unlink()
    with pytest.raises(SettingsError, match=r"maps/empty\.png"):
        require_maps(index.source, index.places(index.rows("all")), ("drivable_area",))


def test_require_maps__looks_at_the_given_places_alone(folder: Path) -> None:
    def move(records: Records) -> None:
        records[1]["location"] = "boston-seaport"

    edit_table(folder, "log", move)
    write_expansion(folder, crossroads(*CAR))
    index = opened(folder)
    require_maps(index.source, index.places(index.rows("mini_train")), LAYERS)
    with pytest.raises(SettingsError, match="boston-seaport"):
        require_maps(index.source, index.places(index.rows("mini_val")), LAYERS)


def test_require_maps__no_place_is_known(folder: Path) -> None:
    (folder / "v1.0-mini" / "log.json").unlink()
    index = opened(folder)
    with pytest.raises(SettingsError, match=r"a location for each scene[^\n]*\n.*log\.json"):
        require_maps(index.source, index.places(index.rows("all")), ("walkway",))


@pytest.mark.parametrize("location", ["../../secret", "/etc/passwd", "a\0b", "C:\\x", "x" * 5000])
def test_require_maps__location_that_leads_out_of_the_folder(folder: Path, location: str) -> None:
    def move(records: Records) -> None:
        for record in records:
            record["location"] = location

    edit_table(folder, "log", move)
    write_expansion(folder.parent, crossroads(*CAR), "secret")
    index = opened(folder)
    with pytest.raises((KeyFrameError, SettingsError)):
        require_maps(index.source, index.places(index.rows("all")), ("walkway",))


def test_require_maps__base_map_that_leads_out_of_the_folder(folder: Path) -> None:
    def move(records: Records) -> None:
        for record in records:
            record["filename"] = "../other.png"

    edit_table(folder, "map", move)
    write_base_map(folder.parent / "other.png", np.ones((9, 9), dtype=bool))
    index = opened(folder)
    with pytest.raises(KeyFrameError, match="leaves the data folder"):
        require_maps(index.source, index.places(index.rows("all")), ("drivable_area",))
    broken = KeyFrames(index, VIEW, Contents(classes=("drivable_area",)), grid=GRID).read(Draw(0, 0))
    assert isinstance(broken, BrokenKeyFrame)


def test_require_maps__damaged(folder: Path) -> None:
    write_expansion(folder, {"version": "1.2"})
    index = opened(folder)
    with pytest.raises(DatasetError, match=r"has version 1\.2"):
        require_maps(index.source, index.places(index.rows("all")), ("walkway",))


@pytest.mark.data
def test_real_base_maps(nuscenes_root: Path) -> None:
    """The cars of real key frames stand on drivable ground, and so does most of every vehicle around them."""
    index = opened(nuscenes_root)
    grid = BevGrid((-50.0, -50.0), (50.0, 50.0), (0.5, 0.5))
    classes = ("vehicle", "drivable_area")
    for row in index.rows("all"):
        key_frame = index.key_frame(row)
        ground = find_ground(index.source, key_frame, classes)
        vehicle, drivable = draw_labels(
            key_frame.boxes, index.source.taxonomy, ONE, grid, classes, ground
        ).target
        assert drivable[100:110, 99:101].all()
        assert 0.05 < drivable.float().mean() < 0.6
        assert (vehicle & drivable).sum() > 0.5 * vehicle.sum()
