"""Spoiled files of every kind: each is read or refused, quickly, in little memory, and nothing else happens.

`OCCFEAT_TEST_FUZZ` is the number of files for each reader; the default keeps this short.
"""

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.bad_input.fuzzing import (
    argoverse_readers,
    bag_readers,
    data_readers,
    folder_readers,
    point_readers,
    run_readers,
)
from tests.bad_input.fuzzing.confined import Reader, fuzz

INPUTS = int(os.environ.get("OCCFEAT_TEST_FUZZ", "100"))

READERS = (
    data_readers.tables,
    data_readers.index,
    data_readers.splits,
    data_readers.lidar,
    point_readers.point_files,
    point_readers.dialects,
    data_readers.images,
    data_readers.map_expansion,
    data_readers.base_map,
    folder_readers.waymo,
    folder_readers.kitti,
    argoverse_readers.tables,
    argoverse_readers.sweep,
    argoverse_readers.map_file,
    bag_readers.bags,
    bag_readers.bag_metadata,
    bag_readers.bag_messages,
    bag_readers.pose_files,
    folder_readers.rig_of_a_bag,
    run_readers.cache,
    run_readers.image_cache,
    run_readers.checkpoint,
    run_readers.weights,
    run_readers.model_card,
    run_readers.settings,
    run_readers.run_folder,
    run_readers.rig_file,
)


@pytest.mark.parametrize(
    "prepare", READERS, ids=lambda prepare: f"{prepare.__module__.rpartition('.')[2]}.{prepare.__name__}"
)
def test_spoiled_files__are_read_or_refused(prepare: Callable[[Path], Reader], tmp_path: Path) -> None:
    reader = prepare(tmp_path)
    for target in reader.targets:
        original = target.path.read_bytes()
        reader.read(target.path)  # as it is, it can be read
        target.path.write_bytes(original)
    report = fuzz(reader, tmp_path, INPUTS)
    print(f"{prepare.__name__}: {report}")
    assert not report.died
    assert not report.failures, "\n".join([str(report.failures), *report.examples.values()])
    assert not report.forbidden
    assert list((tmp_path / "here").iterdir()) == []
    assert report.read + report.refused == report.inputs == INPUTS
    assert report.read > 0
    assert report.slowest_s < 5
    assert report.peak_mb < 2000
