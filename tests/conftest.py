"""Fixtures that more than one part of the tests needs."""

import os
from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def nuscenes_root() -> Path:
    """Folder of the real nuScenes key frames named by OCCFEAT_TEST_NUSCENES."""
    beside = Path(__file__).parents[2] / "shared" / "data" / "nuscenes"
    root = Path(os.environ.get("OCCFEAT_TEST_NUSCENES", beside))
    if not root.is_dir():
        pytest.skip("set OCCFEAT_TEST_NUSCENES to a folder with nuScenes key frames")
    return root
