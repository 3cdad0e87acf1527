"""One small world for all tests that need one: two scenes of two key frames in one town, with truth."""

from pathlib import Path

import pytest

from streetworld.build import build_world
from streetworld.config import WorldConfig

SMALL = {
    "scenes": 2,
    "key_frames": 2,
    "val_scenes": 2,
    "test_scenes": 0,
    "town_size": 3,
    "image_size": (64, 112),
}


@pytest.fixture(scope="session")
def street_world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("street") / "world"
    return build_world(WorldConfig(out=out, truth=True, sweeps=1, workers=1, lights=("noon", "wet"), **SMALL))
