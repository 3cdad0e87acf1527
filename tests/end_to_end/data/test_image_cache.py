"""`occfeat cache --images`: packed images equal those of the files, and what does not match is refused."""

import shutil
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file, save_file

from occfeat.cli import main
from occfeat.data.check.image_bytes import image_bytes
from occfeat.data.dataset import BrokenKeyFrame, Draw, KeyFrames
from occfeat.data.index.index import Index
from occfeat.data.sample.contents import Contents
from occfeat.data.sample.sample import Sample
from occfeat.data.stored.images import ImageCache
from occfeat.errors import CacheError, KeyFrameError
from occfeat.geometry.grid import build_grid
from occfeat.settings.sections import AugmentConfig, DataConfig, GridConfig, ViewConfig
from tests.support.nuscenes_folder import build_nuscenes_folder
from tests.support.small_runs import Flags, rows_of

Words = Callable[..., list[str]]
SIZE = (48, 80)
LIGHT = {"shift": 0.1, "image_rotation_deg": 5, "image_flip": True, "brightness": 0.3, "saturation": 0.3}


@pytest.fixture(scope="module")
def words(folder: Path) -> Words:
    """Flags of `occfeat cache --images` for three key frames in two shards."""

    def of(out: Path, *more: str) -> list[str]:
        flags = ["cache", "--images", "--data", folder, "--out", out, "--split", "mini_train"]
        flags += ["--shard-size", 2, "--image-size", *SIZE, "--engine.workers", 0, "--batch-size", 1]
        return [*map(str, flags), *more]

    return of


@pytest.fixture(scope="module")
def made(words: Words, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("caches") / "raw"
    assert main(words(path)) == 0
    return path


@pytest.fixture(scope="module")
def zoomed(words: Words, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("caches") / "zoomed"
    assert main(words(path, "--largest-zoom", "1.2")) == 0
    return path


@pytest.fixture
def copied(made: Path, tmp_path: Path) -> Path:
    return shutil.copytree(made, tmp_path / "copied")


def read(root: Path, path: Path | None, augment: AugmentConfig | None, epoch: int = 0) -> list[Sample]:
    """The key frames of mini_train, from the cache or from the files."""
    index = Index.open(DataConfig(root=root))
    key_frames = KeyFrames(
        index,
        ViewConfig(image_size=SIZE),
        Contents(),
        grid=build_grid(GridConfig()),
        rows="mini_train",
        augment=augment,
        stored=None if path is None else ImageCache(path),
    )
    return [key_frames.sample(int(row), epoch) for row in key_frames.rows]


def difference(ours: list[Sample], theirs: list[Sample]) -> float:
    """Mean difference in grey levels, of images with the same calibration."""
    for one, other in zip(ours, theirs, strict=True):
        assert torch.equal(one.cameras.intrinsics, other.cameras.intrinsics)
        assert torch.equal(one.cameras.ego_from_camera, other.cameras.ego_from_camera)
    pairs = zip(ours, theirs, strict=True)
    return float(torch.stack([(a.images.float() - b.images.float()).abs().mean() for a, b in pairs]).mean())


@pytest.mark.parametrize(
    "augment", [None, AugmentConfig(**LIGHT), AugmentConfig(scale=(1.0, 1.0), shift=0.2)]
)
def test_images__without_zoom_equal_those_of_the_files(
    folder: Path, made: Path, augment: AugmentConfig | None
) -> None:
    ours, theirs = (read(folder, path, augment) for path in (made, None))
    assert difference(ours, theirs) == 0
    assert len({one.images.sum().item() for one in ours}) == 3


@pytest.mark.parametrize("content", [None, b"\xff\xd8 cut off"])
def test_images__a_lost_one_is_an_absent_camera(
    folder: Path, words: Words, tmp_path: Path, content: bytes | None, capsys: pytest.CaptureFixture[str]
) -> None:
    data = shutil.copytree(folder, tmp_path / "data")
    index = Index.open(DataConfig(root=data))
    row = int(index.rows("mini_train")[1])
    image = data / index.key_frame(row).cameras[2].path
    image.unlink()
    if content is not None:
        image.write_bytes(content)
    assert main(words(tmp_path / "cache", "--data", str(data))) == 0
    assert "1 of these without some camera" in capsys.readouterr().out
    ours, theirs = (read(data, path, None) for path in (tmp_path / "cache", None))
    assert difference(ours, theirs) == 0
    assert ours[1].cameras.present.tolist() == [True, True, False, True, True, True]
    assert [len(one.lost_images) for one in ours] == [len(one.lost_images) for one in theirs] == [0, 1, 0]
    rows = index.rows("mini_train")
    sizes = image_bytes(index, rows, index.default_channels)
    ImageCache(tmp_path / "cache").require_same_files(rows, sizes, allowed=0)


def test_images__with_zoom_differ_by_little(folder: Path, zoomed: Path) -> None:
    largest = AugmentConfig(scale=(1.2, 1.2), shift=0.1)
    assert difference(*(read(folder, path, largest) for path in (zoomed, None))) == 0
    every = AugmentConfig(scale=(0.8, 1.2), shift=0.1)
    ours, theirs = (read(folder, path, every) for path in (zoomed, None))
    contrast = float(torch.stack([one.images.float() for one in theirs]).std())
    assert 0 < difference(ours, theirs) < 0.2 * contrast


def test_jpegs__are_smaller_and_differ_by_little(
    folder: Path, words: Words, made: Path, tmp_path: Path
) -> None:
    smooth = shutil.copytree(folder, tmp_path / "smooth")
    for file in (smooth / "samples").rglob("*.jpg"):
        with Image.open(file) as image:
            image.resize((8, 6)).resize(image.size, Image.Resampling.BICUBIC).save(file)
    more = ["--data", str(smooth), "--quality", "95"]
    assert main(words(tmp_path / "jpegs", *more)) == 0
    assert difference(*(read(smooth, path, None) for path in (tmp_path / "jpegs", None))) < 2
    sizes = [sum(file.stat().st_size for file in path.iterdir()) for path in (tmp_path / "jpegs", made)]
    assert sizes[0] < 0.5 * sizes[1]


def test_cache__says_its_size_first(
    words: Words, tmp_path: Path, caplog: pytest.LogCaptureFixture, capsys: pytest.CaptureFixture[str]
) -> None:
    caplog.set_level("INFO")
    assert main(words(tmp_path / "cache")) == 0
    assert (
        "6 images of 48 x 80, pixels as they are: 69.1 kB per key frame, 207 kB for 3 (1.94 GB" in caplog.text
    )
    assert "3 key frames, 3 of them now" in capsys.readouterr().out


def test_cache__takes_sizes_from_a_recipe(folder: Path, tmp_path: Path) -> None:
    words = ["cache", "--images", "--recipe", "paper-simplebev-b0", "--engine.workers", "0"]
    assert (
        main([*words, "--data", str(folder), "--split", "mini_train", "--out", str(tmp_path / "cache")]) == 0
    )
    assert ImageCache(tmp_path / "cache").card.size == (269, 480)


def test_cache__goes_on_where_it_was(words: Words, copied: Path, capsys: pytest.CaptureFixture[str]) -> None:
    kept, lost = sorted(copied.glob("*.safetensors"))
    before, time = load_file(lost), kept.stat().st_mtime_ns
    lost.unlink()
    with pytest.raises(CacheError, match="1 of 2 files are missing"):
        ImageCache(copied)
    assert main(words(copied)) == 0
    assert capsys.readouterr().out.splitlines()[0] == "3 key frames, 1 of them now"
    after = load_file(lost)
    assert all(torch.equal(before[name], after[name]) for name in before)
    assert kept.stat().st_mtime_ns == time


def test_pretrain__equals_one_that_reads_the_files(flags: Flags, made: Path, tmp_path: Path) -> None:
    common = ["--optim.epochs", "2", "--augment.image-flip", "--augment.shift", "0.1"]
    assert main(flags("pretrain", tmp_path / "files", *common)) == 0
    assert main(flags("pretrain", tmp_path / "cache", *common, "--image-cache", str(made))) == 0
    assert [row["loss"] for row in rows_of(tmp_path / "files")] == [
        row["loss"] for row in rows_of(tmp_path / "cache")
    ]


def test_finetune__reads_what_it_learns_from_in_the_cache(
    flags: Flags, made: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows, read_row = list[int](), ImageCache.read

    def note(cache: ImageCache, row: int) -> Sequence[torch.Tensor]:
        rows.append(row)
        return read_row(cache, row)

    monkeypatch.setattr(ImageCache, "read", note)
    more = ["--image-cache", str(made), "--optim.epochs", "1", "--val-split", "mini_val"]
    assert main(flags("finetune", tmp_path / "run", *more)) == 0
    assert set(rows) == {0, 1, 2}


@pytest.mark.parametrize(
    ("more", "said"),
    [
        (["--split", "all"], "does not contain 3 of the 6 key frames"),
        (["--augment.scale", "0.8", "1.2"], "the cache has 48 x 80 pixels, this run needs 58 x 96"),
        (["--view.cameras", "CAM_FRONT"], "cameras: the cache has"),
        (["--augment.corruptions", "Fog"], "augment.corruptions expects image files"),
    ],
)
def test_pretrain__refuses_what_does_not_match(
    flags: Flags, made: Path, tmp_path: Path, more: list[str], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    words = flags("pretrain", tmp_path / "run", "--image-cache", str(made), "--optim.epochs", "1", *more)
    assert main(words) == 2
    assert said in " ".join(capsys.readouterr().err.split())
    assert not (tmp_path / "run").exists()


def test_pretrain__refuses_a_stale_cache(
    folder: Path, flags: Flags, words: Words, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data = shutil.copytree(folder, tmp_path / "data")
    cache = tmp_path / "cache"
    assert main(words(cache, "--data", str(data))) == 0
    file = Index.open(DataConfig(root=data)).key_frame(1).cameras[2].path
    Image.fromarray(np.zeros((90, 160, 3), np.uint8)).save(data / file)
    more = ["--image-cache", str(cache), "--data", str(data), "--optim.epochs", "1"]
    assert main(flags("pretrain", tmp_path / "run", *more)) == 2
    said = " ".join(capsys.readouterr().err.split())
    assert "is stale: the image files of 1 of the 3 key frames have another size" in said
    assert main(flags("pretrain", tmp_path / "run", *more, "--engine.max-broken", "1")) == 0


def test_pretrain__refuses_the_caches_of_two_data_sets_in_another_order(
    folder: Path, flags: Flags, made: Path, words: Words, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    other = build_nuscenes_folder(tmp_path / "other", boxes=5)
    assert main(words(tmp_path / "second", "--data", str(other))) == 0
    both = ["--data", str(folder), str(other), "--optim.epochs", "1"]
    right = [str(made), str(tmp_path / "second")]
    assert main(flags("pretrain", tmp_path / "run", *both, "--image-cache", *right)) == 0
    assert main(flags("pretrain", tmp_path / "no", *both, "--image-cache", *right[::-1])) == 2
    assert "in the order of the data sets" in " ".join(capsys.readouterr().err.split())


def test_open__damage_is_named(made: Path, words: Words, tmp_path: Path) -> None:
    for kept in (0.0, 0.5, 0.99):
        path = shutil.copytree(made, tmp_path / f"cut-{kept}")
        shard = path / "shard-00001.safetensors"
        shard.write_bytes(shard.read_bytes()[: int(shard.stat().st_size * kept)])
        with pytest.raises(CacheError, match="shard-00001"):
            ImageCache(path)
    with pytest.raises(CacheError, match=r"not an image cache: images\.json is missing"):
        ImageCache(tmp_path)


def test_read__a_changed_byte_is_noticed(folder: Path, copied: Path) -> None:
    shard = copied / "shard-00000.safetensors"
    tensors = load_file(shard)
    tensors["images"][1, 2, 5, 7, 0] ^= 1
    save_file(tensors, shard)
    cache = ImageCache(copied)
    cache.read(0)
    with pytest.raises(KeyFrameError, match="checksum differs"):
        cache.read(1)
    index = Index.open(DataConfig(root=folder))
    view, grid = ViewConfig(image_size=SIZE), build_grid(GridConfig())
    key_frames = KeyFrames(index, view, Contents(), grid=grid, stored=cache)
    assert isinstance(key_frames.read(Draw(0, 0)), Sample)
    assert isinstance(key_frames.read(Draw(1, 0)), BrokenKeyFrame)
    assert isinstance(key_frames.read(Draw(4, 0)), BrokenKeyFrame)  # of another split
