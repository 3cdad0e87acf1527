"""Map labels against nuscenes-devkit's masks, which are drawn in an environment of its own."""

import math
import os
import subprocess
from pathlib import Path

import numpy as np
import pytest
import torch

from occfeat.data.formats.nuscenes.map_expansion import read_expansion
from occfeat.data.maps.maps import Ground
from occfeat.data.maps.masks import LAYERS
from occfeat.geometry.frames import from_rotation, rotation_about_z
from occfeat.geometry.grid import BevGrid
from streetworld.output.maps import write_map
from streetworld.town.lots import TownRequest, plan_town

pytestmark = pytest.mark.parity

GRIDS = ((51.2, 64), (100.0, 200))
TOWN = TownRequest(2, 0, 4)


@pytest.fixture(scope="module")
def poses() -> np.ndarray:
    """Places on the lanes of the town, at all angles: x, y, yaw in degrees."""
    random = np.random.default_rng(0)
    points = np.concatenate([lane.curve.points for lane in plan_town(TOWN).network.lanes])
    chosen = points[random.choice(len(points), size=40, replace=False)]
    return np.column_stack((chosen, random.uniform(-180, 180, size=len(chosen))))


@pytest.fixture(scope="module")
def town(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("town")
    write_map(root, TOWN)
    return root / "maps" / "expansion" / f"{plan_town(TOWN).network.town.name}.json"


def ask_devkit(town: Path, poses: np.ndarray) -> dict[str, np.ndarray]:
    python = os.environ.get("OCCFEAT_DEVKIT_PYTHON", "")
    if not Path(python).is_file():
        pytest.skip("set OCCFEAT_DEVKIT_PYTHON to an interpreter that has nuscenes-devkit 1.2")
    script, root = Path(__file__).with_name("maps_devkit.py"), town.parents[2]
    np.savez(root / "questions.npz", poses=poses, grids=np.array(GRIDS))
    words = [python, "-W", "ignore", script, root, town.stem, root / "questions.npz", root / "masks.npz"]
    subprocess.run(list(map(str, words)), check=True)
    with np.load(root / "masks.npz", allow_pickle=False) as masks:
        return dict(masks)


def test_masks__equal_the_devkits_cell_for_cell(town: Path, poses: np.ndarray) -> None:
    theirs, expansion = ask_devkit(town, poses), read_expansion(town)
    one, cells = torch.eye(4, dtype=torch.float64), dict.fromkeys(LAYERS, 0)
    for i, (x, y, yaw_deg) in enumerate(poses):
        turn = rotation_about_z(torch.tensor(math.radians(yaw_deg), dtype=torch.float64))
        ground = Ground(expansion, from_rotation(turn, torch.tensor([x, y, 0.0], dtype=torch.float64)))
        for j, (edge_m, count) in enumerate(GRIDS):
            half, cell = edge_m / 2, edge_m / count
            grid = BevGrid((-half, -half), (half, half), (cell, cell))
            for layer in LAYERS:
                ours = ground.draw(layer, one, grid).numpy()
                expected = theirs[f"{i}/{j}/{layer}"].T
                np.testing.assert_array_equal(ours, expected, err_msg=f"{layer} at pose {i}")
                cells[layer] += int(expected.sum())
    assert min(cells.values()) > 1000
