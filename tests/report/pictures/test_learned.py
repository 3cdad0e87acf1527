"""The picture of what other objectives of pretraining predict."""

from pathlib import Path

import torch
from matplotlib.colors import to_hex

from occfeat.pretraining.objectives.contract import Panel
from occfeat.report.pictures.learned import ANSWER_COLORS, answer_colors, draw_panels
from occfeat.report.pictures.palette import EGO_COLOR
from tests.report.scene import find
from tests.support.rigs import GRID

SHAPE = GRID.bev.shape


def test_panel__of_voxels_shows_known_ones_only() -> None:
    true, known = torch.zeros(2, 1, 1, 2, 3, dtype=torch.bool)
    probability = torch.tensor([0.1, 0.9, 0.3, 0.2, 0.8, 0.4]).view(1, 1, 2, 3)
    known[0, 0, 0] = torch.tensor([True, False, True])
    true[0, 0, 0] = torch.tensor([False, True, False])
    panel = Panel.of_voxels("voxels", probability, true, known)
    assert panel.probability[0, 0, 0] == torch.tensor(0.3)
    assert panel.probability[0, 0, 1].isnan()
    assert panel.true.flatten().tolist() == [False, False]
    assert panel.known.flatten().tolist() == [True, False]


def test_answer_colors__are_yes_no_or_unknown() -> None:
    true, known = torch.tensor([[True, False, True, False]]), torch.tensor([[True, True, False, False]])
    found = [to_hex(color).upper() for color in answer_colors(true, known)[0]]
    assert found == [ANSWER_COLORS[name].upper() for name in ("yes", "no", "unknown", "unknown")]


def test_draw_panels__truth_lies_up_left_above_the_prediction(tmp_path: Path) -> None:
    true = torch.zeros(2, *SHAPE, dtype=torch.bool)
    true[1, -4:, -4:] = True
    panel = Panel("path of the car", true.float(), true, torch.ones_like(true))
    draw_panels(tmp_path / "learned.png", [panel, panel], GRID.bev, key_frame=1)
    drawn = find(tmp_path / "learned.png", ANSWER_COLORS["yes"])
    rows, columns = find(tmp_path / "learned.png", EGO_COLOR).T
    assert len(drawn) > 200
    left = drawn[drawn[:, 1] < columns.min()]
    assert len(left) > 100  # the first panel's square lies left of its car
    assert left[:, 0].max() < rows.min()
    assert rows.max() > drawn[:, 0].max()  # the predictions below
