"""Voxels at several times: which sweep is taken, and what it says, beside each sweep on its own."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from occfeat.data.dataset import KeyFrames
from occfeat.data.index.index import Index
from occfeat.data.keyframe import SweepRecord
from occfeat.data.sample.contents import Contents, PathRequest, TimesRequest
from occfeat.data.sample.lidar import EMPTY, OCCUPIED, TimedStates
from occfeat.data.sweeps.points import read_points
from occfeat.data.sweeps.rays import trace
from occfeat.data.sweeps.times import choose_nearest
from occfeat.errors import SettingsError
from occfeat.settings.sections import AugmentConfig, ViewConfig
from tests.support.rigs import GRID

VIEW = ViewConfig(image_size=(24, 40))
REQUEST = TimesRequest((-0.5, -0.05, 0.0, 0.5), 0.02)


def states_of(index: Index, row: int, request: TimesRequest = REQUEST) -> TimedStates:
    states = KeyFrames(index, VIEW, Contents(times=request), grid=GRID).sample(row).times
    assert states is not None
    return states


def test_times__are_what_each_sweep_says_alone(index: Index) -> None:
    states = states_of(index, 1)
    assert states.present.tolist() == [True] * 4
    sweeps = index.sweeps_within(1, 0.5)
    assert [(one.timestamp_us - sweeps[3].timestamp_us) // 1000 for one in sweeps[::3]] == [-500, 0, 500]
    for number, sweep in enumerate((sweeps[0], sweeps[2], sweeps[3], sweeps[6])):
        points = read_points(index.source, [sweep], VIEW.ego_radius_m)
        cell, inside = GRID.cell_index(points.points_ego)
        hit = torch.zeros(GRID.shape, dtype=torch.bool)
        hit[tuple(cell[inside].T)] = True
        assert torch.equal(states.occupied[number], hit)
        assert torch.equal(states.states[number] == EMPTY, torch.from_numpy(trace(points, GRID).crossed))
        assert hit.sum() > 10
    assert set(states.states.unique().tolist()) == {0, EMPTY, OCCUPIED}
    assert torch.equal(states.known, states.states > 0)


def test_times__without_a_sweep_are_absent_and_unknown(index: Index, folder: Path) -> None:
    first = states_of(index, 0)  # the scene begins 0.1 s before
    assert first.present.tolist() == [False, True, True, True]
    assert not first.known[0].any()
    assert states_of(index, 1, replace(REQUEST, times_s=(0.2, 0.45))).present.tolist() == [False, True]
    (folder / index.sweeps_within(1, 0.5)[6].path).unlink()
    assert states_of(index, 1).present.tolist() == [True, True, True, False]


def test_times__follow_the_augmentation(index: Index) -> None:
    flipped = KeyFrames(
        index, VIEW, Contents(times=REQUEST), grid=GRID, augment=AugmentConfig(bev_flip=True), seed=1
    )
    plain, seen = states_of(index, 1).occupied, set()
    for epoch in range(8):
        states = flipped.of_epoch(epoch)[1].times
        assert states is not None
        for axes in ((), (1,), (2,), (1, 2)):
            same = (states.occupied == plain.flip(axes)).float().mean()
            seen |= {axes} if same > 0.999 else set()  # returns on borders of voxels change sides
    assert len(seen) >= 3


def test_choose_nearest__one_sweep_of_each_lidar() -> None:
    def sweep(lidar: str, time_us: int) -> SweepRecord:
        return SweepRecord(f"{lidar}{time_us}", "", lidar, time_us, True, torch.eye(4, dtype=torch.float64))

    sweeps = [sweep("a", 0), sweep("a", 60_000), sweep("b", 90_000), sweep("b", 400_000), sweep("c", 300_000)]
    assert [one.token for one in choose_nearest(sweeps, 50_000, 0.05)] == ["a60000", "b90000"]
    assert [one.token for one in choose_nearest(sweeps, 25_000, 0.03)] == ["a0"]
    assert choose_nearest(sweeps, 200_000, 0.05) == ()
    assert choose_nearest([], 0, 1.0) == ()


def test_rows_within__are_the_key_frame_itself_and_its_neighbours(index: Index) -> None:
    assert index.rows_within(1, 0.5) == (1, 0, 2)
    assert index.rows_within(1, 0.4) == (1,)
    assert index.rows_within(2, 10.0) == (2, 0, 1)
    assert index.rows_within(3, 0.6) == (3, 4)


@pytest.mark.parametrize("part", ["times", "path"])
def test_unknown_poses__are_refused_by_name(index: Index, part: str, monkeypatch: pytest.MonkeyPatch) -> None:
    lost = tuple(replace(place, has_poses=False) for place in index.metadata.places)
    monkeypatch.setattr(index, "metadata", replace(index.metadata, places=lost))
    asked = {"times": REQUEST, "path": PathRequest(3.0, (-1.0, -1.0), (1.0, 1.0))}
    with pytest.raises(SettingsError, match=r"ego poses of 6 key frames are not known") as error:
        KeyFrames(index, VIEW, Contents(**{part: asked[part]}), grid=GRID)
    assert f"Leave out loss.{part}" in (error.value.hint or "")
