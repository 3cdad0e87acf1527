from pathlib import Path

import pytest
import torch

from occfeat.data import dataset
from occfeat.data.check.files import image_files
from occfeat.data.corruptions.released import open_released, released_name
from occfeat.data.dataset import BrokenKeyFrame, Draw, KeyFrames
from occfeat.data.index.index import Index
from occfeat.data.sample.contents import Contents
from occfeat.data.sample.sample import Sample
from occfeat.errors import DatasetError
from occfeat.settings.sections import DataConfig, ViewConfig
from tests.data.corruptions.released_folder import write_released
from tests.data.corruptions.test_corruptions import GRID

VIEW = ViewConfig(image_size=(90, 160))


def read(root: Path, index: Index, row: int = 3) -> Sample | BrokenKeyFrame:
    effect = open_released(root, "Fog", "mid", (), 0)
    return KeyFrames(index, VIEW, Contents(), grid=GRID, effect=effect).read(Draw(row, 0))


@pytest.mark.parametrize("between", ["", "samples"])
def test_open_released__reads_the_files_of_the_same_name(folder: Path, tmp_path: Path, between: str) -> None:
    index = Index.open(DataConfig(root=folder))
    write_released(tmp_path, index, "Fog", "mid", between=between)
    sample = read(tmp_path, index)
    clean = KeyFrames(index, VIEW, Contents(), grid=GRID).read(Draw(3, 0))
    assert isinstance(sample, Sample)
    assert isinstance(clean, Sample)
    # released images are the clean ones turned upside down here, and JPEG again
    apart = (sample.images.int() - clean.images.flip(-2).int()).abs().float()
    assert apart.mean() < 6
    assert not torch.equal(sample.images, clean.images)


def test_open_released__clean_images_are_not_read(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    index = Index.open(DataConfig(root=folder))
    write_released(tmp_path, index, "Fog", "mid")
    monkeypatch.setattr(dataset, "read_image", None)
    assert isinstance(read(tmp_path, index), Sample)


def test_open_released__missing_folder(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match=r"The folder .* does not exist") as raised:
        open_released(tmp_path, "Snow", "hard", (), 0)
    assert "Snow/hard/CAM_FRONT" in raised.value.hint


@pytest.mark.parametrize("between", ["", "samples"])
def test_open_released__missing_images(folder: Path, tmp_path: Path, between: str) -> None:
    index = Index.open(DataConfig(root=folder))
    images = list(image_files(index, index.rows("mini_val"), ("CAM_FRONT", "CAM_BACK")))
    write_released(tmp_path, index, "Fog", "mid", between=between)
    open_released(tmp_path, "Fog", "mid", images, 0)
    released = [tmp_path / "Fog" / "mid" / between / released_name(image.path) for image in images[:4]]
    released[0].unlink()
    released[1].unlink()
    released[3].write_bytes(b"")
    with pytest.raises(
        DatasetError, match=r"2 key frame\(s\) are incomplete in .*mid.*, 1 allowed"
    ) as raised:
        open_released(tmp_path, "Fog", "mid", images, 1)
    assert raised.value.first == tuple(released_name(images[lost].path) for lost in (0, 1, 3))
    assert ", or allow more with `--engine.max-broken`" in raised.value.hint
    open_released(tmp_path, "Fog", "mid", images, 2)


def test_open_released__missing_wrong_and_hostile_files(folder: Path, tmp_path: Path) -> None:
    index = Index.open(DataConfig(root=folder))
    write_released(tmp_path, index, "Fog", "mid")
    path = tmp_path / "Fog" / "mid" / index.key_frame(3).cameras[0].path.removeprefix("samples/")
    whole = path.read_bytes()
    for content, said in ((None, "is missing"), (b"", "cannot be decoded"), (whole[: len(whole) // 2], "")):
        path.unlink(missing_ok=True)
        if content is not None:
            path.write_bytes(content)
        broken = read(tmp_path, index)
        assert isinstance(broken, BrokenKeyFrame)
        assert said in broken.message
    path.unlink()
    path.symlink_to("/etc/hostname")
    broken = read(tmp_path, index)
    assert isinstance(broken, BrokenKeyFrame)
    assert "leaves the data folder" in broken.message
