"""Windows of sweeps beside the surfaces of the street world: a car that passes leaves no trail."""

import numpy as np
import pytest

from occfeat.geometry.grid import VoxelGrid, build_grid
from occfeat.settings.sections import GridConfig
from streetworld.things.materials import Material
from streetworld.things.shapes import box
from tests.experiments.scripts import load

pytest.importorskip("embreex", reason="comes with the extra `world`")
window_truth = load("concluded.window_truth")

GRID = VoxelGrid((-20.0, -20.0, 0.5), (20.0, 20.0, 3.5), (0.5, 0.5, 1.0))
USUAL = build_grid(GridConfig())


def test_voxels_of__a_box_are_those_of_its_sides() -> None:
    mesh = box((0.25, 0.25, 2.0), (2.4, 1.4, 1.9), Material.CONCRETE)
    marked = window_truth.voxels_of(mesh, np.eye(4), GRID)
    x, y, z = np.argwhere(marked).min(axis=0), np.argwhere(marked).max(axis=0), marked.sum()
    assert (x.tolist(), y.tolist()) == ([38, 39, 0], [42, 41, 2])
    assert z == 5 * 3 * 3 - 3 * 1 * 1  # all but what lies inside


@pytest.mark.slow
def test_rule__takes_away_the_trails_of_movers() -> None:
    found = [window_truth.scores_of(window_truth.scene_of(0, 0), frame, 20, USUAL) for frame in (2, 5)]
    trails = {arm: sum(one[arm]["ghosts"] for one in found) for arm in window_truth.ARMS}
    assert sum(one["single"]["trail"] for one in found) > 100
    assert trails["0.5 s, no rule"] > 40
    assert trails["0.5 s"] <= trails["single"] + 0.02 * trails["0.5 s, no rule"]
    for one in found:
        added, without_rule = (
            one[arm]["recall of still surfaces"] - one["single"]["recall of still surfaces"]
            for arm in ("0.5 s", "0.5 s, no rule")
        )
        assert added > 0.6 * without_rule
        moving, still = (
            one["0.5 s"][f"conflicts, of hit {of}"] for of in ("voxels that movers pass", "still surfaces")
        )
        assert moving > 2 * still
        assert one["0.5 s"]["unknown"] < one["single"]["unknown"]
