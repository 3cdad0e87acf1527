"""A real log of Argoverse 2, without its images: points, boxes and map agree."""

import os
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from pyarrow import feather

from occfeat.commands.dataset.view import view
from occfeat.data.check.check import check, quick_check
from occfeat.data.dataset import KeyFrames
from occfeat.data.formats.argoverse2.lidar import read_sweep
from occfeat.data.index.index import Index
from occfeat.data.keyframe import transform_from_pose
from occfeat.data.sample.contents import Contents
from occfeat.errors import DatasetError
from occfeat.geometry.frames import from_rotation, invert, transform_points
from occfeat.geometry.grid import build_grid
from occfeat.settings.commands import ViewerConfig
from occfeat.settings.sections import DataConfig, GridConfig, ViewConfig

pytestmark = pytest.mark.data


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the real log, beside which an index can be written."""
    given = os.environ.get("OCCFEAT_TEST_ARGOVERSE2")
    if not given:
        pytest.skip("set OCCFEAT_TEST_ARGOVERSE2 to a folder with the Argoverse 2 sensor set or a part of it")
    copy = shutil.copytree(given, tmp_path_factory.mktemp("real") / "sensor")
    return copy / "sensor" if (copy / "sensor").is_dir() else copy


@pytest.fixture(scope="module")
def index(root: Path) -> Index:
    return Index.open(DataConfig(root=root))


def test_check__names_the_missing_images_and_nothing_else(root: Path, index: Index) -> None:
    report = check(DataConfig(root=root), decode=True)
    (problem,) = report.problems
    assert (problem.kind, problem.count) == ("missing image", 7 * len(index))
    assert "sensors/cameras/ring_front_center/" in problem.first[0]
    assert report.notes == ()
    quick_check(index, index.rows("all"), view=ViewConfig(cameras=("none",)), needs_lidar=True)
    with pytest.raises(DatasetError, match="cannot be used") as caught:
        quick_check(index, index.rows("all"), view=ViewConfig(), needs_lidar=True)
    assert "sensors/cameras" in caught.value.hint


def test_boxes__hold_as_many_points_as_their_table_says(root: Path) -> None:
    """Of every box at the time of every LiDAR file. As in av2-api, points on a face count."""
    compared = 0
    for file in sorted(root.glob("*/*/sensors/lidar/*.feather")):
        table = feather.read_table(file.parents[2] / "annotations.feather")
        table = table.filter(np.array(table["timestamp_ns"]) == int(file.stem))
        pose = np.stack([table[name] for name in ("tx_m", "ty_m", "tz_m", "qw", "qx", "qy", "qz")], axis=1)
        size_m = torch.from_numpy(np.stack([table[f"{side}_m"] for side in ("length", "width", "height")], 1))
        box_from_ego = invert(transform_from_pose(torch.from_numpy(pose)))
        points = torch.from_numpy(read_sweep(file).points[:, :3]).double()
        inside = (transform_points(box_from_ego, points.expand(len(pose), -1, -1)).abs() * 2).le(
            size_m[:, None]
        )
        counts = inside.all(dim=2).sum(dim=1).numpy()
        np.testing.assert_array_equal(counts, table["num_interior_pts"])
        compared += len(counts)
    assert compared > 100


def test_key_frame__boxes_and_points_agree_through_the_index(index: Index) -> None:
    """Boxes go to the city frame and back, and still hold their points; rounding moves at most one."""
    for row in range(len(index)):
        key_frame = index.key_frame(row)
        sweep = index.source.read_sweep(index.root / key_frame.sweeps[0].path)
        local = transform_points(
            invert(from_rotation(key_frame.boxes.ego_from_box, key_frame.boxes.center_ego)),
            torch.from_numpy(sweep.points[:, :3]).double().expand(len(key_frame.boxes), -1, -1),
        )
        counts = (local.abs() * 2 <= key_frame.boxes.size_m[:, None]).all(dim=2).sum(dim=1)
        assert (counts - key_frame.boxes.lidar_points).abs().max() <= 1
        assert sweep.origins is not None
        assert len(np.unique(sweep.origins, axis=0)) == 2
        distance_m = np.hypot(*(sweep.points[:, :2] - sweep.origins[:, :2]).T)
        assert distance_m.min() > ViewConfig().ego_radius_m  # the files have no returns of the car itself


def test_lasers__keep_their_angle_at_the_lidar_they_belong_to(root: Path) -> None:
    """The angle of a beam varies least at its own LiDAR: lasers from 32 on belong to the lower one."""
    file = sorted(root.glob("*/*/sensors/lidar/*.feather"))[0]
    sweep = read_sweep(file)
    assert sweep.origins is not None
    assert sweep.ring_column is not None
    laser = sweep.points[:, sweep.ring_column]
    for number in (0, 15, 32, 47):
        points, origin = sweep.points[laser == number, :3], sweep.origins[laser == number][0]
        others = np.unique(sweep.origins, axis=0)
        other = others[np.argmax(np.abs(others - origin).max(axis=1))]
        spread = [
            np.std(np.arctan2((points - at)[:, 2], np.hypot(*(points - at)[:, :2].T)))
            for at in (origin, other)
        ]
        assert spread[0] < spread[1]


def test_map__most_vehicles_stand_on_the_drivable_area(index: Index) -> None:
    grid = build_grid(GridConfig())
    contents = Contents(classes=("vehicle", "drivable_area", "divider"))
    black = KeyFrames(
        index,
        ViewConfig(),
        contents,
        grid=grid,
        effect=lambda read, camera, token, epoch: _black(camera.size),
    )
    labels = black.sample(0).labels
    assert labels is not None
    vehicle, drivable, divider = labels.target
    assert (vehicle & drivable).sum() > 0.75 * vehicle.sum()
    assert (divider & drivable).sum() > 0.9 * divider.sum()
    assert 0.1 < drivable.float().mean() < 0.6


def _black(size: tuple[int, int]) -> torch.Tensor:
    return torch.zeros(3, *size, dtype=torch.uint8)


def test_view__draws_a_key_frame_without_images(root: Path, tmp_path: Path) -> None:
    out = tmp_path / "view.png"
    classes = ("drivable_area", "vehicle", "pedestrian")
    outcome = view(ViewerConfig(data=root, out=out, calibration=True, classes=classes))
    assert "Black, because the images are missing: ring_front_center, " in outcome.text
    with Image.open(out) as picture:
        pixels = np.array(picture.convert("RGB"))
    left = pixels[:, : pixels.shape[1] // 2]
    black = (left == 0).all(axis=2).mean()
    colourful = (left.max(axis=2) - left.min(axis=2) > 60).mean()
    assert black > 0.2  # the images
    assert colourful > 0.05  # the points and boxes on them
