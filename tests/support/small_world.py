"""One small world for all tests that need one: two scenes of two key frames in one town, with truth."""

import os
import shutil
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


def copy_of_world(world: Path, out: Path) -> Path:
    """Copy the tables of a world, and link its other files."""
    for part in (path for path in world.iterdir() if path.is_dir()):
        is_table = part.name.startswith("v1.0-")
        shutil.copytree(part, out / part.name, copy_function=shutil.copy2 if is_table else os.link)
    return out
