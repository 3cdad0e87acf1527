"""The teacher cache: the same training as with the teacher, and nothing half or foreign is ever read."""

import json
import os
import shutil
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from occfeat.cli import main
from occfeat.commands.cache import filling as caching
from occfeat.data import dataset
from occfeat.data.augment import ImageChange
from occfeat.data.index.index import Index
from occfeat.errors import CacheError, KeyFrameError
from occfeat.settings.sections import DataConfig
from occfeat.teacher.cache import TeacherCache
from tests.bad_input.damage import singular_intrinsics
from tests.support.nuscenes_folder import build_nuscenes_folder
from tests.support.small_runs import Flags, rows_of

Words = Callable[..., list[str]]


@pytest.fixture(scope="module")
def words(folder: Path, teacher_weights: Path) -> Words:
    """Flags of `occfeat cache` for three key frames in two shards."""

    def of(out: Path, *more: str) -> list[str]:
        flags = ["cache", "--data", folder, "--out", out, "--split", "mini_train", "--shard-size", 2]
        flags += ["--teacher.name", "test_vit", "--teacher.weights", teacher_weights]
        flags += ["--teacher.image-size", 64, 96, "--engine.workers", 0, "--batch-size", 1]
        return [*map(str, flags), *more]

    return of


@pytest.fixture(scope="module")
def made(words: Words, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("caches") / "cache"
    assert main(words(path)) == 0
    return path


@pytest.fixture
def copied(made: Path, tmp_path: Path) -> Path:
    return shutil.copytree(made, tmp_path / "cache")


def test_pretrain__with_the_cache_as_with_the_teacher(flags: Flags, made: Path, tmp_path: Path) -> None:
    common = ["--optim.epochs", "2", "--augment.bev-flip", "--augment.image-flip"]
    assert main(flags("pretrain", tmp_path / "seen", *common)) == 0
    assert main(flags("pretrain", tmp_path / "read", *common, "--teacher-cache", str(made))) == 0
    seen, read = rows_of(tmp_path / "seen"), rows_of(tmp_path / "read")
    assert len(seen) == len(read) == 3
    for one, other in zip(seen, read, strict=True):
        assert other["loss"] == pytest.approx(one["loss"], abs=1e-3)
        assert other["cosine"] == pytest.approx(one["cosine"], abs=1e-3)


def test_cache__a_lost_image_is_an_absent_camera_for_the_teacher_too(
    flags: Flags, words: Words, folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data, cached = Path(shutil.copytree(folder, tmp_path / "data")), tmp_path / "cache"
    index = Index.open(DataConfig(root=data))
    row = int(index.rows("mini_train")[1])
    (data / index.key_frame(row).cameras[2].path).unlink()
    assert main(words(cached, "--data", str(data))) == 0
    printed = capsys.readouterr().out.splitlines()
    assert printed[1] == "1 of these without some camera, which cannot be used"
    assert float(printed[2].split(": ")[1]) > 0.999
    known = (TeacherCache(cached).read(row).scales > 0).flatten(1)
    assert known.any(1).tolist() == known.all(1).tolist() == [True, True, False, True, True, True]
    common = ["--optim.epochs", "2", "--augment.bev-flip", "--data", str(data)]
    assert main(flags("pretrain", tmp_path / "seen", *common)) == 0
    assert main(flags("pretrain", tmp_path / "read", *common, "--teacher-cache", str(cached))) == 0
    seen, read = rows_of(tmp_path / "seen"), rows_of(tmp_path / "read")
    assert seen[-1]["incomplete_key_frames"] == read[-1]["incomplete_key_frames"] == 1
    for one, other in zip(seen, read, strict=True):
        assert other["loss"] == pytest.approx(one["loss"], abs=1e-3)
        assert other["cosine"] == pytest.approx(one["cosine"], abs=1e-3)


def test_commands__go_on_without_a_camera_whose_calibration_cannot_be_used(
    flags: Flags, words: Words, tmp_path: Path
) -> None:
    data, cached = build_nuscenes_folder(tmp_path / "data", key_frames=3), tmp_path / "cache"
    singular_intrinsics(data)
    allowed = ["--data", str(data), "--engine.max-incomplete", "1"]
    assert main(flags("pretrain", tmp_path / "refused", "--data", str(data))) == 2
    assert main(words(cached, *allowed)) == 0
    for row in Index.open(DataConfig(root=data)).rows("mini_train").tolist():
        known = (TeacherCache(cached).read(row).scales > 0).flatten(1)
        assert known.any(1).tolist() == known.all(1).tolist() == [False, *[True] * 5]
    assert main(flags("pretrain", tmp_path / "pre", *allowed, "--teacher-cache", str(cached))) == 0
    assert rows_of(tmp_path / "pre")[-1]["incomplete_key_frames"] == 3
    assert (
        main(
            flags(
                "finetune",
                tmp_path / "tuned",
                *allowed,
                "--start",
                str(tmp_path / "pre"),
                "--val-split",
                "mini_val",
            )
        )
        == 0
    )
    found = json.loads((tmp_path / "tuned" / "evaluation-mini_val" / "results.json").read_text())
    assert (found["key_frames"], found["incomplete"]) == (3, 3)


def test_cache__says_size_and_likeness(
    words: Words, tmp_path: Path, capsys: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    assert main(words(tmp_path / "cache")) == 0
    printed = capsys.readouterr().out.splitlines()
    assert printed[0] == "3 key frames, 3 of them now"
    assert float(printed[1].split(": ")[1]) > 0.999
    assert (
        "6 cameras x 4 x 6 patches x 64 values of int8: 9.79 kB per key frame, 29.4 kB for 3" in caplog.text
    )
    shards = sorted((tmp_path / "cache").glob("*.safetensors"))
    assert [len(load_file(shard)["rows"]) for shard in shards] == [2, 1]
    tensors = sum(tensor.nbytes for shard in shards for tensor in load_file(shard).values())
    assert tensors == 3 * 6 * 4 * 6 * (64 + 4) + 3 * 8  # what was announced, and the rows


def test_cache__scales_every_image_once(
    words: Words, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sizes = list[tuple[int, int]]()
    write_changed = dataset.write_changed

    def count(image: Tensor, change: ImageChange, out: Tensor) -> None:
        sizes.append((out.shape[1], out.shape[2]))
        write_changed(image, change, out)

    monkeypatch.setattr(dataset, "write_changed", count)
    assert main(words(tmp_path / "cache")) == 0
    assert sizes == [(64, 96)] * 3 * 6


def test_cache__goes_on_where_it_was(words: Words, copied: Path, capsys: pytest.CaptureFixture[str]) -> None:
    kept, lost = sorted(copied.glob("*.safetensors"))
    before, time = load_file(lost), kept.stat().st_mtime_ns
    lost.unlink()
    assert main(words(copied)) == 0
    assert capsys.readouterr().out.splitlines()[0] == "3 key frames, 1 of them now"
    after = load_file(lost)
    assert all(torch.equal(before[name], after[name]) for name in before)
    assert kept.stat().st_mtime_ns == time


def test_cache__stopped_by_a_signal_keeps_what_is_finished(
    words: Words, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    path, write = tmp_path / "cache", caching.write_atomic

    def write_and_stop(file: Path, writer: Callable[[Path], object]) -> None:
        if file.name == "shard-00000.safetensors":
            os.kill(os.getpid(), 15)
        write(file, writer)

    monkeypatch.setattr(caching, "write_atomic", write_and_stop)
    assert main(words(path)) == 130
    assert "Repeat the `occfeat cache` command" in capsys.readouterr().err
    assert [file.name for file in path.glob("*.safetensors")] == ["shard-00000.safetensors"]
    with pytest.raises(CacheError, match="1 of 2 files are missing"):
        TeacherCache(path)


def test_pretrain__refuses_another_teacher(
    flags: Flags, made: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    more = ["--teacher-cache", str(made), "--teacher.block", "1", "--optim.epochs", "1"]
    assert main(flags("pretrain", tmp_path / "run", *more)) == 2
    printed = capsys.readouterr().err
    assert "does not match this run" in printed
    assert "'block': 1" in printed
    assert not (tmp_path / "run").exists()


def test_pretrain__refuses_key_frames_the_cache_lacks(
    flags: Flags, made: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    more = ["--teacher-cache", str(made), "--split", "all", "--optim.epochs", "1"]
    assert main(flags("pretrain", tmp_path / "run", *more)) == 2
    assert "does not contain 3 of the 6 key frames" in capsys.readouterr().err


def test_pretrain__refuses_another_data_set(
    flags: Flags, made: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    other = build_nuscenes_folder(tmp_path / "other", boxes=5)
    more = ["--teacher-cache", str(made), "--data", str(other), "--optim.epochs", "1"]
    assert main(flags("pretrain", tmp_path / "run", *more)) == 2
    assert "data_fingerprint" in capsys.readouterr().err


def test_cache__refuses_to_mix_settings(
    words: Words, copied: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(words(copied, "--dtype", "fp16")) == 2
    assert "dtype: the cache has int8, this run fp16" in capsys.readouterr().err


def test_cache__refuses_another_one_that_was_begun_meanwhile(
    words: Words, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    lock, path = caching.lock_folder, tmp_path / "cache"

    def lock_too_late(folder: Path) -> AbstractContextManager[None]:
        monkeypatch.undo()
        assert main(words(path, "--dtype", "fp16")) == 0
        return lock(folder)

    monkeypatch.setattr(caching, "lock_folder", lock_too_late)
    assert main(words(path)) == 2
    assert "dtype: the cache has fp16, this run int8" in capsys.readouterr().err
    assert TeacherCache(path).card.dtype == "fp16"


def test_cache__refuses_a_folder_with_something_else(
    words: Words, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "thesis.tex").write_text("important")
    assert main(words(tmp_path)) == 2
    assert "not empty" in capsys.readouterr().err
    assert [file.name for file in tmp_path.iterdir()] == ["thesis.tex"]


def test_cache__refuses_what_does_not_fit_the_disk(
    words: Words, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    usage = type(shutil.disk_usage(tmp_path))(total=10**9, used=10**9 - 1000, free=1000)
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage)
    assert main(words(tmp_path / "cache")) == 2
    assert "29.4 kB are needed" in capsys.readouterr().err
    monkeypatch.undo()
    assert main(words(tmp_path / "cache", "--dtype", "fp16")) == 0  # nothing holds the folder


@pytest.mark.parametrize("kept", [0.0, 0.5, 0.99])
def test_open__a_cut_file_is_named(words: Words, copied: Path, kept: float) -> None:
    shard = copied / "shard-00001.safetensors"
    shard.write_bytes(shard.read_bytes()[: int(shard.stat().st_size * kept)])
    with pytest.raises(CacheError, match="shard-00001"):
        TeacherCache(copied)
    assert main(words(copied)) == 2


def test_open__a_file_of_another_layout_is_named(copied: Path) -> None:
    shard = copied / "shard-00001.safetensors"
    tensors = load_file(shard)
    save_file({**tensors, "values": tensors["values"][..., :5].contiguous()}, shard)
    with pytest.raises(CacheError, match="values I8"):
        TeacherCache(copied)


def test_open__a_damaged_card_is_named(copied: Path) -> None:
    (copied / "cache.json").write_text("{")
    with pytest.raises(CacheError, match=r"cache\.json is damaged"):
        TeacherCache(copied)


def test_read__a_key_frame_that_is_not_there(made: Path) -> None:
    cache = TeacherCache(made)
    held = np.concatenate([load_file(file)["rows"].numpy() for file in sorted(made.glob("*.safetensors"))])
    assert cache.read(int(held[2])).values.shape == (6, 4, 6, 64)
    with pytest.raises(KeyFrameError, match="does not contain"):
        cache.read(int(held.max()) + 1)
