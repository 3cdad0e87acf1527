"""Where an index is built, when it is built again, and by whom."""

import errno
import logging
import os
import shutil
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Barrier
from typing import Any

import pyarrow as pa
import pytest

from occfeat.data.index import index_file
from occfeat.data.index.index import Index
from occfeat.data.source.source import DataSource
from occfeat.errors import DatasetError, SettingsError
from occfeat.settings.sections import DataConfig


def built(caplog: pytest.LogCaptureFixture) -> bool:
    found = any(message.startswith("Building the index") for message in caplog.messages)
    caplog.clear()
    return found


def test_open__builds_once(folder: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    data = DataConfig(root=folder)
    first = Index.open(data)
    assert built(caplog)
    assert first.file.parent == folder / "v1.0-mini"
    assert Index.open(data).fingerprint == first.fingerprint
    assert not built(caplog)
    Index.open(data, rebuild=True)
    assert built(caplog)


def test_open__a_copy_is_not_built_again(
    folder: Path, index: Index, caplog: pytest.LogCaptureFixture
) -> None:
    """Times of copied files differ, contents do not: they are compared once, and not again."""
    caplog.set_level(logging.INFO)
    copy = folder.parent / "copy"
    shutil.copytree(folder, copy, copy_function=shutil.copyfile)
    assert Index.open(DataConfig(root=copy)).fingerprint == index.fingerprint
    assert any("comparing contents" in message for message in caplog.messages)
    assert not built(caplog)
    Index.open(DataConfig(root=copy))
    assert not any("comparing contents" in message for message in caplog.messages)


def test_open__changed_tables(folder: Path, index: Index, caplog: pytest.LogCaptureFixture) -> None:
    """A change that keeps every size is seen too."""
    path = folder / "v1.0-mini" / "sample_annotation.json"
    text = path.read_text()
    path.write_text(text.replace('"visibility_token": "1"', '"visibility_token": "4"'))
    assert len(path.read_text()) == len(text)
    os.utime(path, ns=(0, 0))
    again = Index.open(DataConfig(root=folder))
    assert any("have changed" in message for message in caplog.messages)
    assert again.fingerprint != index.fingerprint
    assert 1 not in again.key_frame(0).boxes.visibility


@pytest.mark.parametrize("damage", ["cut", "garbage", "empty", "other version"])
def test_open__damaged_index(
    folder: Path, index: Index, damage: str, caplog: pytest.LogCaptureFixture
) -> None:
    whole = index.file.read_bytes()
    index.file.unlink()  # what is mapped into memory must not change
    if damage == "other version":
        table = index._table.replace_schema_metadata({"occfeat": b'{"schema_version": 0}'})
        with pa.ipc.new_file(str(index.file), table.schema) as writer:
            writer.write_table(table)
    else:
        index.file.write_bytes({"cut": whole[: len(whole) // 2], "garbage": b"x" * 999, "empty": b""}[damage])
    again = Index.open(DataConfig(root=folder))
    assert any("rebuilt" in message for message in caplog.messages)
    assert again.key_frame(0).token == again.token(0)


def test_open__bytes_are_validated_once_per_state(
    folder: Path, index: Index, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A new file is validated until its times can be trusted, then once, and again when it has changed."""
    validated = list[Path]()
    check = index_file._require_sound

    def count(path: Path) -> index_file.Metadata:
        validated.append(path)
        return check(path)

    monkeypatch.setattr(index_file, "_require_sound", count)
    data, before = DataConfig(root=folder), len(validated)
    Index.open(data)
    Index.open(data)
    assert len(validated) == before + 2
    monkeypatch.setattr(index_file, "_SETTLED_NS", -1)
    Index.open(data)
    Index.open(data)
    assert len(validated) == before + 3
    spoiled = bytearray(index.file.read_bytes())
    times = index.file.stat()
    at = spoiled.index(index.token(0).encode())
    spoiled[at] = 0xFF  # not UTF-8
    index.file.unlink()  # what is mapped into memory must not change
    index.file.write_bytes(spoiled)
    os.utime(index.file, ns=(times.st_atime_ns, times.st_mtime_ns))
    assert Index.open(data).token(0) == index.token(0)
    assert len(validated) == before + 4


def test_open__read_only_place(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where nothing can be written beside the tables, the cache folder is used, and found again."""
    cache = tmp_path / "cache"
    monkeypatch.setenv("XDG_CACHE_HOME", str(cache))
    write = index_file._write_atomically

    def refuse(path: Path, content: Any) -> None:
        if path.is_relative_to(folder):
            raise PermissionError(13, "Permission denied")
        write(path, content)

    lock = index_file.FileLock

    def refuse_lock(path: Path) -> Any:
        if path.is_relative_to(folder):
            raise PermissionError(13, "Permission denied")
        return lock(path)

    monkeypatch.setattr(index_file, "_write_atomically", refuse)
    monkeypatch.setattr(index_file, "FileLock", refuse_lock)
    first = Index.open(DataConfig(root=folder))
    assert first.file.is_relative_to(cache / "occfeat")
    written = first.file.stat().st_mtime_ns
    assert Index.open(DataConfig(root=folder)).file.stat().st_mtime_ns == written


def test_open__no_space_anywhere(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(index_file, "_write_table", full)
    with pytest.raises(DatasetError, match="No space left on device"):
        Index.open(DataConfig(root=folder))
    left = {path.name for path in (folder / "v1.0-mini").iterdir() if "occfeat" in path.name}
    assert left <= {f".{index_file._NAME}.lock"}  # some versions of filelock remove it


def test_open__those_that_start_together_build_once(
    folder: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    caplog.set_level(logging.INFO)
    join, together, builds = index_file._join_with_progress, Barrier(2), list[Path]()

    def slow_join(source: DataSource, total_bytes: int) -> pa.Table:
        builds.append(source.folder)
        deadline = time.monotonic() + 20
        while "waiting for it" not in caplog.text and time.monotonic() < deadline:
            time.sleep(0.01)
        return join(source, total_bytes)

    def start(_: int) -> str:
        together.wait()
        return Index.open(DataConfig(root=folder)).fingerprint

    monkeypatch.setattr(index_file, "_join_with_progress", slow_join)
    with ThreadPoolExecutor(2) as threads:
        first, second = threads.map(start, range(2))
    assert first == second
    assert len(builds) == 1


def test_open__where_no_file_can_be_locked(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(path: Path) -> None:
        raise NotImplementedError("no locks on this file system")

    monkeypatch.setattr(index_file, "FileLock", refuse)
    assert Index.open(DataConfig(root=folder)).file.parent == folder / "v1.0-mini"


@pytest.mark.skipif(os.name != "posix", reason="flock is POSIX's")
@pytest.mark.parametrize("code", [errno.ENOLCK, errno.EOPNOTSUPP])
def test_open__where_the_file_system_has_no_locks(
    folder: Path, code: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr("fcntl.flock", refuse)
    assert Index.open(DataConfig(root=folder)).file.parent == folder / "v1.0-mini"


def test_open__choice_of_version(folder: Path) -> None:
    shutil.copytree(folder / "v1.0-mini", folder / "v1.0-test")
    with pytest.raises(SettingsError, match=r"several versions(?s:.*)`--version`"):
        Index.open(DataConfig(root=folder))
    assert Index.open(DataConfig(root=folder, version="v1.0-test")).version == "v1.0-test"
    with pytest.raises(DatasetError, match="no version 'v9'"):
        Index.open(DataConfig(root=folder, version="v9"))


def test_open__wrong_folder(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match=r"does not exist(?s:.*)`--data`"):
        Index.open(DataConfig(root=tmp_path / "nothing"))
    (tmp_path / "file").write_text("")
    with pytest.raises(DatasetError, match="is a file, not a folder"):
        Index.open(DataConfig(root=tmp_path / "file"))
    with pytest.raises(DatasetError, match="give its parent folder"):
        Index.open(DataConfig(root=folder / "v1.0-mini"))
    with pytest.raises(DatasetError, match=r"of a known format \(nuscenes, .*\)(?s:.*)v1\.0-trainval"):
        Index.open(DataConfig(root=folder / "samples"))


def test_open__needs_no_torch(folder: Path, index: Index) -> None:
    """A process that only opens the index must stay small."""
    code = (
        "import sys; from pathlib import Path; from occfeat.settings.sections import DataConfig; "
        "from occfeat.data.index.index import Index; "
        f"index = Index.open(DataConfig(root=Path({str(folder)!r}))); index.rows('all'); index.token(0); "
        "sys.exit('torch' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_user_without_a_home__has_a_cache_folder_among_temporary_files(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def homeless() -> Path:
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    monkeypatch.setattr(Path, "home", homeless)
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    (folder,) = index_file._cache_folders(tmp_path / "v1.0-mini")
    assert folder.is_relative_to(tmp_path)
    assert folder.name.startswith("v1.0-mini-")


def test_home_that_cannot_be_written__gives_way_to_temporary_files(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Path, "home", lambda: Path("/nonexistent"))
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    first, second = index_file._cache_folders(tmp_path / "v1.0-mini")
    assert first.is_relative_to("/nonexistent/.cache/occfeat")
    assert second.is_relative_to(tmp_path)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "chosen"))
    (only,) = index_file._cache_folders(tmp_path / "v1.0-mini")
    assert only.is_relative_to(tmp_path / "chosen")
