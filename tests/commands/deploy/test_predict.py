"""Which cameras of a data set a run predicts for."""

from pathlib import Path

import pytest

from occfeat.commands.deploy.predict import with_cameras_of
from occfeat.data.index.index import Index
from occfeat.settings.sections import DataConfig, ViewConfig


@pytest.mark.parametrize(
    ("of_the_run", "taken"),
    [
        ((), ()),
        (("CAM_BACK", "CAM_FRONT"), ("CAM_BACK", "CAM_FRONT")),
        (("CAM_FRONT", "CAM_ROOF"), ("CAM_FRONT",)),
        (("front", "back"), ()),
    ],
)
def test_with_cameras_of__another_rig(
    folder: Path, of_the_run: tuple[str, ...], taken: tuple[str, ...], caplog: pytest.LogCaptureFixture
) -> None:
    index = Index.open(DataConfig(root=folder))
    caplog.clear()
    view = with_cameras_of(index, ViewConfig(cameras=of_the_run, image_size=(32, 48)))
    assert view == ViewConfig(cameras=taken, image_size=(32, 48))
    unknown = [name for name in of_the_run if name not in index.channels]
    assert ("has no camera" in caplog.text) == bool(unknown)
    assert all(name in caplog.text for name in unknown)
    if unknown:
        assert f"predicting with {', '.join(taken or index.channels)}." in caplog.text
