"""Boxes for a recording that is imported, as the page on recordings shows it."""

import re
from pathlib import Path

import numpy as np
import pytest
import yaml

from occfeat.data.index.index import Index
from occfeat.settings.sections import DataConfig
from tests.support.recordings.drives import write_drive

PAGE = Path(__file__).parents[4] / "docs" / "recordings.md"
RIG = {
    "base_frame": "base_link",
    "cameras": {"CAM_FRONT": {"topic": "/front/image_raw/compressed", "info": "/front/camera_info"}},
    "lidars": {"LIDAR_TOP": {"topic": "/lidar/points"}},
    "poses": {"source": "tf", "global_frame": "map"},
}


def test_example_of_the_page__adds_boxes_to_one_key_frame(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The drive goes along x at 10 m/s, so the box at x = 12 m is 7 m before the car after half a second."""
    found = re.search(r"^## Boxes .*?```python\n(.*?)```", PAGE.read_text("utf-8"), re.MULTILINE | re.DOTALL)
    assert found is not None
    monkeypatch.chdir(tmp_path)
    write_drive(Path("drive"), "ros1")
    Path("rig.yaml").write_text(yaml.safe_dump(RIG))
    exec(compile(found[1], str(PAGE), "exec"), {})
    index = Index.open(DataConfig(root=tmp_path / "labelled"))
    frames = [index.key_frame(row) for row in range(len(index))]
    assert [len(frame.boxes) for frame in frames] == [0, 1, 0, 0, 0, 0]
    np.testing.assert_allclose(frames[1].boxes.center_ego[0], [7, 2, 0.8], atol=1e-5)
