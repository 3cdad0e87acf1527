"""Windows of sweeps around a key frame, beside a plain join of the tables."""

from pathlib import Path

import numpy as np
import pytest

from occfeat.data.index.index import Index
from occfeat.errors import KeyFrameError
from occfeat.settings.sections import DataConfig
from tests.data.index.test_index import files_of
from tests.support.nuscenes_folder import Records, build_nuscenes_folder, edit_table


def offsets_ms(index: Index, row: int, window_s: float, *lidars: str) -> list[float]:
    key_us = index.key_frame(row).timestamp_us
    return [(sweep.timestamp_us - key_us) / 1e3 for sweep in index.sweeps_within(row, window_s, lidars)]


def test_sweeps_within__are_past_and_future_in_order_of_time(index: Index) -> None:
    assert offsets_ms(index, 1, 0.0) == [0]
    assert offsets_ms(index, 1, 0.1) == [-100, -50, 0]
    assert offsets_ms(index, 1, 0.45) == [-100, -50, 0, 400, 450]
    assert offsets_ms(index, 1, 0.5) == [-500, -100, -50, 0, 400, 450, 500]


def test_sweeps_within__stay_in_their_scene(index: Index) -> None:
    assert offsets_ms(index, 2, 1000.0) == [-1100, -1050, -1000, -600, -550, -500, -100, -50, 0]
    assert offsets_ms(index, 3, 1000.0)[0] == -100  # the first key frame of the second scene
    first, second = ({one.token for one in index.sweeps_within(row, 1000.0)} for row in (2, 3))
    assert (len(first), len(second), len(first | second)) == (9, 9, 18)


def test_sweeps_within__equal_a_plain_join(folder: Path, index: Index) -> None:
    records = {
        record["token"]: record
        for row in range(3)
        for record in files_of(folder, index.token(row), "LIDAR_TOP")
    }
    own = files_of(folder, index.token(1), "LIDAR_TOP")[0]
    found = index.sweeps_within(1, 0.5)
    assert len(found) == 7
    for sweep in found:
        record = records[sweep.token]
        assert (sweep.path, sweep.is_key) == (record["filename"], record["is_key_frame"])
        expected = np.linalg.inv(own["ego"]) @ record["ego"] @ record["sensor"]
        np.testing.assert_allclose(sweep.ego_from_lidar, expected, atol=1e-9)


def test_sweeps_within__of_chosen_lidars(tmp_path: Path) -> None:
    places = {"LIDAR_TOP": (0.9, 0.0, 1.8), "LIDAR_LEFT": (0.5, 1.0, 1.0)}
    index = Index.open(DataConfig(root=build_nuscenes_folder(tmp_path, lidars=places, sweeps=1)))
    top, left = index.lidars.index("LIDAR_TOP"), index.lidars.index("LIDAR_LEFT")
    lag_ms = 10 * (left - top)
    assert offsets_ms(index, 1, 0.1, "LIDAR_TOP") == [-50, 0]
    assert offsets_ms(index, 1, 0.1, "LIDAR_LEFT") == [lag_ms - 50, lag_ms]
    assert offsets_ms(index, 1, 0.1) == sorted([-50, 0, lag_ms - 50, lag_ms])


def test_sweeps_within__time_stamps_in_any_order(folder: Path, index: Index) -> None:
    before = index.sweeps_within(1, 0.5)
    rng = np.random.default_rng(0)
    edit_table(folder, "sample_data", rng.shuffle)
    after = Index.open(DataConfig(root=folder)).sweeps_within(1, 0.5)
    assert [sweep.token for sweep in after] == [sweep.token for sweep in before]


def test_sweeps_within__refuse_a_faulty_key_frame(folder: Path) -> None:
    def break_poses(records: Records) -> None:
        for record in records:
            record["rotation"] = [0.0, 0.0, 0.0, 0.0]

    edit_table(folder, "ego_pose", break_poses)
    index = Index.open(DataConfig(root=folder))
    with pytest.raises(KeyFrameError, match="its records are faulty"):
        index.sweeps_within(0, 0.5)
    with pytest.raises(IndexError, match="expected a row below 6, got 6"):
        index.sweeps_within(6, 0.5)
