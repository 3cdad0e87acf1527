"""Labels, poses and splits against nuscenes-devkit, which runs in an environment of its own."""

import os
import subprocess
from pathlib import Path

import numpy as np
import pytest
import torch

from occfeat.data.formats.nuscenes.splits import OFFICIAL, official_scenes
from occfeat.data.index.index import Index
from occfeat.data.labels import draw_labels
from occfeat.geometry.camera import project
from occfeat.geometry.frames import invert, transform_points
from occfeat.geometry.grid import BevGrid
from occfeat.settings.sections import DataConfig
from tests.support.nuscenes_folder import build_nuscenes_folder

pytestmark = pytest.mark.parity

GRID = BevGrid((-50.0, -50.0), (50.0, 50.0), (0.5, 0.5))
Arrays = dict[str, np.ndarray]


@pytest.fixture(scope="session")
def devkit_python() -> str:
    python = os.environ.get("OCCFEAT_DEVKIT_PYTHON", "")
    if not Path(python).is_file():
        pytest.skip("set OCCFEAT_DEVKIT_PYTHON to an interpreter that has nuscenes-devkit 1.2")
    return python


def ask_devkit(python: str, root: Path, out: Path) -> Arrays:
    script = Path(__file__).with_name("labels_devkit.py")
    subprocess.run([python, "-W", "ignore", str(script), str(root), "v1.0-mini", str(out)], check=True)
    with np.load(out, allow_pickle=False) as arrays:
        return dict(arrays)


def compare(root: Path, theirs: Arrays) -> int:
    """Compare every key frame; number of labelled cells."""
    index = Index.open(DataConfig(root=root))
    cells = 0
    for row in index.rows("all"):
        key_frame = index.key_frame(row)
        labels = draw_labels(
            key_frame.boxes,
            index.source.taxonomy,
            torch.eye(4, dtype=torch.float64),
            GRID,
            ("vehicle", "pedestrian"),
        )
        for i, name in enumerate(labels.classes):
            for kind, ours in (("all", labels.target[i]), ("low", labels.low_visibility[i])):
                np.testing.assert_array_equal(ours, theirs[f"mask/{key_frame.token}/{name}/{kind}"])
                cells += int(ours.sum())
        points_ego = transform_points(
            key_frame.sweeps[0].ego_from_lidar, torch.from_numpy(theirs["points_lidar"])
        )
        for camera in key_frame.cameras:
            points_camera = transform_points(invert(camera.lidar_ego_from_camera), points_ego)
            pixels, depth_m = project(camera.intrinsics, points_camera)
            expected = theirs[f"pixels/{key_frame.token}/{camera.channel}"]
            np.testing.assert_allclose(depth_m, expected[:, 2], atol=1e-6)
            front = expected[:, 2] > 0.5
            np.testing.assert_allclose(pixels[front], expected[front, :2], atol=1e-4)
    return cells


@pytest.mark.data
def test_real_key_frames(nuscenes_root: Path, devkit_python: str, tmp_path: Path) -> None:
    theirs = ask_devkit(devkit_python, nuscenes_root, tmp_path / "devkit.npz")
    assert compare(nuscenes_root, theirs) > 1000


def test_made_up_key_frames(devkit_python: str, tmp_path: Path) -> None:
    """Boxes of all visibilities; cars at all angles to the grid."""
    root = build_nuscenes_folder(tmp_path / "set", boxes=60, channels=("CAM_FRONT", "CAM_BACK"), returns=10)
    theirs = ask_devkit(devkit_python, root, tmp_path / "devkit.npz")
    assert compare(root, theirs) > 1000
    assert any(mask.any() for name, mask in theirs.items() if name.endswith("vehicle/low"))
    for split in OFFICIAL:
        assert official_scenes(split) == tuple(theirs[f"split/{split}"])
