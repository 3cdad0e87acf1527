"""A small data folder and its index."""

from pathlib import Path

import pytest

from occfeat.data.index.index import Index
from occfeat.settings.sections import DataConfig
from tests.support.nuscenes_folder import build_nuscenes_folder


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return build_nuscenes_folder(tmp_path / "nuscenes")


@pytest.fixture
def index(folder: Path) -> Index:
    return Index.open(DataConfig(root=folder))
