from pathlib import Path

import numpy as np
import pytest
import torch

from occfeat.data.index.index import Index
from occfeat.data.sweeps.points import read_points
from tests.data.index.test_index import matrix
from tests.support.nuscenes_folder import read_records


def test_read_points__equals_a_plain_way(folder: Path, index: Index) -> None:
    """Two sweeps, each moved by its own pose, without what lies within a metre of the sensor."""
    key_frame = index.key_frame(1, sweeps=2)
    poses = {record["token"]: record for record in read_records(folder, "ego_pose")}
    calibrated = {record["token"]: record for record in read_records(folder, "calibrated_sensor")}
    records = {record["token"]: record for record in read_records(folder, "sample_data")}
    expected, origins = [], []
    for sweep in key_frame.sweeps:
        record = records[sweep.token]
        values = np.fromfile(folder / record["filename"], dtype="<f4").reshape(-1, 5)[:, :3].astype(float)
        values = values[np.hypot(values[:, 0], values[:, 1]) >= 1]
        moved = matrix(poses[record["ego_pose_token"]]) @ matrix(
            calibrated[record["calibrated_sensor_token"]]
        )
        values = (
            np.c_[values, np.ones(len(values))] @ (np.linalg.inv(key_frame.global_from_ego.numpy()) @ moved).T
        )
        expected.append(values[:, :3])
        sensor = (np.linalg.inv(key_frame.global_from_ego.numpy()) @ moved)[:3, 3]
        origins.append(np.broadcast_to(sensor, values[:, :3].shape))
    points = read_points(index.source, key_frame.sweeps, 1.0)
    assert points.points_ego.dtype == points.origins_ego.dtype == torch.float32
    np.testing.assert_allclose(points.points_ego, np.concatenate(expected), atol=1e-4)
    np.testing.assert_allclose(points.origins_ego, np.concatenate(origins), atol=1e-4)
    assert not torch.equal(points.origins_ego[0], points.origins_ego[-1])  # the car has moved


def test_read_points__lie_on_the_ground_and_in_boxes(folder: Path, index: Index) -> None:
    key_frame = index.key_frame(4)
    points = read_points(index.source, key_frame.sweeps, 1.0).points_ego.double()
    ground = points[:2000]
    assert ground[:, 2].abs().max() < 1e-3
    boxes = key_frame.boxes
    for i in range(len(boxes)):
        offset = (points[2000 + 40 * i : 2040 + 40 * i] - boxes.center_ego[i]) @ boxes.ego_from_box[i]
        assert (offset.abs() <= boxes.size_m[i] / 2 + 1e-3).all()


def test_read_points__radius(folder: Path, index: Index) -> None:
    sweeps = index.key_frame(0).sweeps
    everything, others = (read_points(index.source, sweeps, radius_m).points_ego for radius_m in (0.0, 1.0))
    assert len(everything) - len(others) == 50
    assert len(read_points(index.source, sweeps, 1e6)) == 0
    nothing = read_points(index.source, (), 1.0)
    assert nothing.points_ego.shape == nothing.origins_ego.shape == (0, 3)
    assert nothing.key_frame.shape == (0,)


@pytest.mark.data
def test_real_sweep__ground_lies_at_zero(nuscenes_root: Path) -> None:
    """The rear axle stands on the ground: most returns near the car are at z = 0."""
    from occfeat.settings.sections import DataConfig

    index = Index.open(DataConfig(root=nuscenes_root))
    points = read_points(index.source, index.key_frame(0).sweeps, 1.0).points_ego
    near = points[points[:, :2].norm(dim=1) < 12]
    assert 20_000 < len(points) < 40_000
    assert near[:, 2].median().abs() < 0.15
