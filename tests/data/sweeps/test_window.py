"""Which sweeps make a window, and what happens to those that cannot be read."""

import logging
from pathlib import Path

import numpy as np
import pytest
import torch

from occfeat.data.augment import Change, draw_change
from occfeat.data.dataset import KeyFrames
from occfeat.data.index.index import Index
from occfeat.data.sample.contents import Contents, WindowRequest
from occfeat.data.sample.lidar import Window
from occfeat.data.sample.sample import Sample, collate
from occfeat.data.sweeps.accumulate import accumulate
from occfeat.data.sweeps.points import read_points
from occfeat.data.sweeps.slices import trace_slices
from occfeat.data.sweeps.window import AROUND_M, WindowReader, choose_rounds, count_lonely, warn_of_lonely
from occfeat.errors import KeyFrameError
from occfeat.geometry.grid import VoxelGrid
from occfeat.settings.sections import AugmentConfig, DataConfig, ViewConfig
from tests.support.nuscenes_folder import build_nuscenes_folder

GRID = VoxelGrid((-20.0, -20.0, -1.0), (20.0, 20.0, 3.0), (1.0, 1.0, 1.0))
SAME = draw_change(None, 6, seed=0, epoch=0, row=0)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return build_nuscenes_folder(tmp_path / "nuscenes")


@pytest.fixture
def index(folder: Path) -> Index:
    return Index.open(DataConfig(root=folder))


def rounds_ms(index: Index, row: int, window_s: float) -> list[list[float]]:
    key_frame = index.key_frame(row)
    rounds = choose_rounds(index.sweeps_within(row, 2 * window_s), key_frame, window_s)
    every = (*rounds.before, *rounds.after)
    assert all(one.timestamp_us < key_frame.timestamp_us for sweeps in rounds.before for one in sweeps)
    return [[(one.timestamp_us - key_frame.timestamp_us) / 1e3 for one in sweeps] for sweeps in every]


def read(index: Index, row: int, window_s: float, change: Change = SAME) -> Window:
    return WindowReader(index, ViewConfig(), GRID, change).read(row, WindowRequest(window_s))


def test_rounds__are_the_other_sweeps_in_order(index: Index) -> None:
    assert rounds_ms(index, 1, 0.45) == [[-100], [-50], [400], [450]]
    assert rounds_ms(index, 2, 0.45) == [[-100], [-50]]  # the last of its scene


def test_rounds__without_a_sweep_on_one_side_take_the_nearest(tmp_path: Path) -> None:
    index = Index.open(DataConfig(root=build_nuscenes_folder(tmp_path, sweeps=0)))
    assert rounds_ms(index, 1, 0.5) == [[-500], [500]]
    assert rounds_ms(index, 1, 0.3) == [[-500], [500]]  # key frames that are a little farther apart serve
    assert rounds_ms(index, 1, 0.2) == []
    assert rounds_ms(index, 0, 0.5) == [[500]]


def test_rounds__of_several_lidars_count_once(tmp_path: Path) -> None:
    places = {"LIDAR_TOP": (0.9, 0.0, 1.8), "LIDAR_LEFT": (0.5, 1.0, 1.0)}
    index = Index.open(DataConfig(root=build_nuscenes_folder(tmp_path, lidars=places, sweeps=1)))
    assert [len(sweeps) for sweeps in rounds_ms(index, 1, 0.5)] == [2, 2, 2, 2]
    assert [sorted(sweeps)[0] for sweeps in rounds_ms(index, 1, 0.45)] == pytest.approx([-50, 450], abs=11)


def test_window__equals_its_parts_in_the_augmented_frame(index: Index) -> None:
    change = draw_change(AugmentConfig(bev_flip=True, bev_rotation_deg=30), 6, seed=1, epoch=2, row=1)
    moved = change.new_ego_from_ego.float()
    traced = [
        trace_slices(read_points(index.source, [sweep], 1.0).transform(moved), GRID)
        for sweep in index.sweeps_within(1, 0.45)
    ]
    expected = accumulate(traced[2], traced[:2], traced[3:], "key-sweep", (round(AROUND_M),) * 2)
    window = read(index, 1, 0.45, change)
    assert (window.states.numpy() == expected).all()
    assert (int(window.sweeps), int(window.lost)) == (5, 0)
    assert window.occupied.sum() > 100
    assert (window.known & ~window.occupied).sum() > 100


def test_window__leaves_out_sweeps_that_cannot_be_read(folder: Path, index: Index) -> None:
    whole = read(index, 1, 0.45)
    before, _, _, after, _ = index.sweeps_within(1, 0.45)
    (folder / before.path).unlink()
    (folder / after.path).write_bytes(b"damaged")
    left = read(index, 1, 0.45)
    assert (int(left.sweeps), int(left.lost)) == (3, 2)
    assert left.known.sum() < whole.known.sum()


def test_window__needs_the_key_frames_own_sweep(folder: Path, index: Index) -> None:
    (own,) = index.key_frame(1).sweeps
    (folder / own.path).unlink()
    with pytest.raises(KeyFrameError, match=Path(own.path).name):
        read(index, 1, 0.45)


def test_window__without_other_sweeps_is_the_sweep_alone(
    index: Index, caplog: pytest.LogCaptureFixture
) -> None:
    window = read(index, 1, 0.01)
    (own,) = index.key_frame(1).sweeps
    alone = trace_slices(read_points(index.source, [own], 1.0), GRID)
    assert (window.occupied.numpy() == alone.hit_voxels).all()
    assert (window.known.numpy() == alone.hit_voxels | alone.crossed_voxels).all()
    assert int(window.sweeps) == 1
    rows = np.arange(6)
    assert count_lonely(index, rows, 0.01) == 6
    assert count_lonely(index, rows, 0.05) == 0
    with caplog.at_level(logging.WARNING):
        warn_of_lonely(index, rows, 0.05)
        assert caplog.text == ""
        warn_of_lonely(index, rows[1:3], 0.02)
    assert "2 of 2 key frames have no other LiDAR sweep within 0.02 s" in caplog.text


def test_lonely__are_counted_by_scene(tmp_path: Path) -> None:
    one_each = build_nuscenes_folder(tmp_path, key_frames=1, sweeps=0)
    index = Index.open(DataConfig(root=one_each))
    assert count_lonely(index, np.arange(2), 1000.0) == 2


def test_key_frames__carry_windows_to_a_batch(index: Index) -> None:
    contents = Contents(points=True, window=WindowRequest(0.45))
    key_frames = KeyFrames(index, ViewConfig(), contents, grid=GRID)
    samples = [key_frames.sample(row) for row in (0, 1, 2)]
    batch = collate(samples)
    assert batch.window is not None
    assert batch.window.states.shape == (3, *GRID.shape)
    assert batch.window.sweeps.tolist() == [5, 5, 3]
    chosen = batch.window.of_key_frames(torch.tensor([0, 2]))
    assert chosen.sweeps.tolist() == [5, 3]
    without: Sample = KeyFrames(index, ViewConfig(), Contents(points=True), grid=GRID).sample(0)
    with pytest.raises(ValueError, match="expected a window of sweeps in all samples or none"):
        collate([samples[0], without])
