"""Fixtures that more than one part of the tests needs."""

import os
from pathlib import Path

import pytest
import torch
from hypothesis import settings

from tests.support.small_runs import flags, folder, teacher_weights
from tests.support.small_world import street_world

__all__ = ["flags", "folder", "nuscenes_root", "street_world", "teacher_weights"]

# The same examples every time and no time limit: a failure means a bug, never a slow machine.
settings.register_profile("occfeat", max_examples=40, deadline=None, derandomize=True)
settings.load_profile("occfeat")


# Small tensors are computed several times as fast on one thread, above all on a busy machine.
torch.set_num_threads(1)
os.environ["OMP_NUM_THREADS"] = "1"  # for the programs that tests start


@pytest.fixture(scope="session")
def nuscenes_root() -> Path:
    """Folder of real nuScenes key frames, named by the variable OCCFEAT_TEST_NUSCENES."""
    root = os.environ.get("OCCFEAT_TEST_NUSCENES")
    if not root:
        pytest.skip("set OCCFEAT_TEST_NUSCENES to a folder with nuScenes key frames")
    return Path(root)
