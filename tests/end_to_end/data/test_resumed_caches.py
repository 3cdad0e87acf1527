"""A run is resumed while its teacher cache or image cache is gone, cut off or another one."""

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from occfeat.cli import main
from tests.support.nuscenes_folder import build_nuscenes_folder
from tests.support.small_runs import Flags, rows_of, stopping_after

Fault = Callable[[Path], object]
SHARD = "shard-00001.safetensors"


@pytest.fixture(scope="module")
def caches(folder: Path, teacher_weights: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Both caches of the three key frames of `mini_train`, and in `other` those of another data set."""
    root = tmp_path_factory.mktemp("caches")
    other = build_nuscenes_folder(root / "data", boxes=5)
    common = ["--split", "mini_train", "--shard-size", "2", "--engine.workers", "0"]
    of_teacher = ["--teacher.name", "test_vit", "--teacher.weights", str(teacher_weights)]
    of_teacher += ["--teacher.image-size", "64", "96"]
    for data, out in ((folder, root / "its"), (other, root / "other")):
        words = ["cache", "--data", str(data), *common]
        assert main([*words, *of_teacher, "--out", str(out / "teacher")]) == 0
        assert main([*words, "--images", "--image-size", "48", "80", "--out", str(out / "image")]) == 0
    return root


@pytest.fixture(scope="module")
def stopped(flags: Flags, caches: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run that was stopped after two of three steps."""
    run, used = tmp_path_factory.mktemp("runs") / "run", shutil.copytree(caches / "its", caches / "used")
    words = ["--teacher-cache", str(used / "teacher"), "--image-cache", str(used / "image")]
    with pytest.MonkeyPatch.context() as patch, stopping_after(2, patch):
        assert main(flags("pretrain", run, "--optim.epochs", "2", *words)) == 130
    return run


@pytest.fixture
def used(caches: Path, stopped: Path) -> Iterator[Path]:
    """The folder of the caches that the run uses; whole again afterwards."""
    yield caches / "used"
    shutil.rmtree(caches / "used")
    shutil.copytree(caches / "its", caches / "used")


def is_gone(cache: Path) -> None:
    shutil.rmtree(cache)


def has_no_card(cache: Path) -> None:
    next(cache.glob("*.json")).unlink()


def has_an_empty_card(cache: Path) -> None:
    next(cache.glob("*.json")).write_text("")


def lacks_a_shard(cache: Path) -> None:
    (cache / SHARD).unlink()


def is_cut_off(cache: Path) -> None:
    content = (cache / SHARD).read_bytes()
    (cache / SHARD).write_bytes(content[: len(content) // 2])


def is_nonsense(cache: Path) -> None:
    size = (cache / SHARD).stat().st_size
    (cache / SHARD).write_bytes(bytes(size))


def has_another_shard(cache: Path) -> None:
    shutil.copyfile(cache / "shard-00000.safetensors", cache / SHARD)


def is_a_file(cache: Path) -> None:
    shutil.rmtree(cache)
    cache.write_text("")


def is_of_other_data(cache: Path) -> None:
    shutil.rmtree(cache)
    shutil.copytree(cache.parents[1] / "other" / cache.name, cache)


def is_of_the_other_kind(cache: Path) -> None:
    kind = {"teacher": "image", "image": "teacher"}[cache.name]
    shutil.rmtree(cache)
    shutil.copytree(cache.parents[1] / "its" / kind, cache)


def has_a_folder_for_a_shard(cache: Path) -> None:
    (cache / SHARD).unlink()
    (cache / SHARD).mkdir()


FAULTS = {
    is_gone: "is missing",
    has_no_card: "is missing",
    has_an_empty_card: "is damaged or of another version",
    lacks_a_shard: "is not finished: 1 of 2 files are missing",
    has_a_folder_for_a_shard: "is not finished: 1 of 2 files are missing",
    is_cut_off: "cannot be read",
    is_nonsense: "cannot be read",
    has_another_shard: "does not contain 1 of the 3 key frames",
    is_a_file: "is missing",
    is_of_other_data: "data_fingerprint: the cache has",
    is_of_the_other_kind: "is missing",
}


@pytest.mark.parametrize("kind", ["teacher", "image"])
@pytest.mark.parametrize("fault", FAULTS)
def test_resume__names_a_cache_that(
    fault: Fault, kind: str, used: Path, stopped: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = shutil.copytree(stopped, tmp_path / "run")
    fault(used / kind)
    assert main(["pretrain", "--resume", str(run)]) == 2
    said = " ".join(capsys.readouterr().err.split())
    assert str(used / kind) in said
    assert FAULTS[fault] in said
    assert f"`occfeat cache{' --images' if kind == 'image' else ''}`" in said


def test_resume__goes_on_with_caches_that_moved_and_are_linked(
    used: Path, caches: Path, stopped: Path, tmp_path: Path
) -> None:
    run = shutil.copytree(stopped, tmp_path / "run")
    for kind in ("teacher", "image"):
        shutil.rmtree(used / kind)
        (used / kind).symlink_to(caches / "its" / kind)
    assert main(["pretrain", "--resume", str(run)]) == 0
    assert len(rows_of(run)) == 3
