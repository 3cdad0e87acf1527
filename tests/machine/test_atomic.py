"""Files that are there whole or not at all."""

import errno
import os
import stat
import tempfile
from pathlib import Path

import pytest

from occfeat.errors import RunError
from occfeat.machine.atomic import (
    LOCK,
    lock_folder,
    put_in_place,
    sync_file,
    write_atomic,
    write_bytes_atomic,
    write_text_atomic,
)


def test_write_whole__replaces_an_older_file(tmp_path: Path) -> None:
    for text in ("old", "new"):
        write_text_atomic(tmp_path / "folder" / "file.txt", text)
    assert (tmp_path / "folder" / "file.txt").read_text() == "new"
    assert len(list((tmp_path / "folder").iterdir())) == 1


def test_write_whole__a_full_disk_leaves_the_old_file(tmp_path: Path) -> None:
    write_text_atomic(tmp_path / "file.txt", "old")

    def full_disk(temporary: Path) -> None:
        temporary.write_bytes(b"half")
        raise OSError(28, "No space left on device")

    with pytest.raises(RunError, match=r"file\.txt could not be written"):
        write_atomic(tmp_path / "file.txt", full_disk)
    assert (tmp_path / "file.txt").read_text() == "old"
    assert [file.name for file in tmp_path.iterdir()] == ["file.txt"]


@pytest.mark.parametrize("failure", [KeyboardInterrupt(), RuntimeError("CUDA out of memory")])
def test_write_whole__what_is_no_error_of_writing_stays_what_it_is(
    tmp_path: Path, failure: BaseException
) -> None:
    def stopped(temporary: Path) -> None:
        temporary.write_bytes(b"half")
        raise failure

    with pytest.raises(type(failure)):
        write_atomic(tmp_path / "file.txt", stopped)
    assert not list(tmp_path.iterdir())


def test_write_whole__a_file_where_its_folder_should_be(tmp_path: Path) -> None:
    (tmp_path / "folder").write_text("a file")
    with pytest.raises(RunError, match="could not be written"):
        write_text_atomic(tmp_path / "folder" / "file.txt", "text")


def test_lock_folder__that_cannot_be_locked_is_said(tmp_path: Path) -> None:
    (tmp_path / LOCK).mkdir()
    with pytest.raises(RunError, match="cannot be written: Is a directory"), lock_folder(tmp_path):
        pass


@pytest.mark.skipif(os.name != "posix", reason="flock is POSIX's")
@pytest.mark.parametrize("code", [errno.ENOLCK, errno.EOPNOTSUPP])
def test_lock_folder__a_file_system_without_locks_is_said_and_used(
    tmp_path: Path, code: int, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def refuse(*_: object) -> None:
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr("fcntl.flock", refuse)
    with lock_folder(tmp_path), lock_folder(tmp_path):
        write_text_atomic(tmp_path / "file.txt", "text")
    assert f"The file system of {tmp_path} has no locks ({os.strerror(code)})" in caplog.text


def test_lock_folder__a_held_lock_is_not_taken_for_a_missing_one(tmp_path: Path) -> None:
    with lock_folder(tmp_path), pytest.raises(RunError, match="Another process"), lock_folder(tmp_path):
        pass


@pytest.mark.skipif(os.name != "posix", reason="rights of files are POSIX's")
@pytest.mark.parametrize("umask", [0o077, 0o022])
def test_write_text_atomic__rights_are_those_of_the_umask(tmp_path: Path, umask: int) -> None:
    before = os.umask(umask)
    try:
        write_text_atomic(tmp_path / "new" / "file.txt", "text")
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "new" / "file.txt").stat().st_mode) == 0o666 & ~umask
    assert stat.S_IMODE((tmp_path / "new").stat().st_mode) == 0o777 & ~umask


@pytest.mark.parametrize("error", [OSError(28, "No space left on device"), TimeoutError()])
def test_lock_folder__errors_of_what_is_done_meanwhile_stay_what_they_are(
    tmp_path: Path, error: OSError
) -> None:
    with pytest.raises(type(error)) as caught, lock_folder(tmp_path):
        raise error
    assert caught.value is error
    with lock_folder(tmp_path):
        pass


@pytest.mark.skipif(os.name != "posix", reason="rights of files are POSIX's")
def test_put_in_place__others_can_read_what_only_its_owner_could(tmp_path: Path) -> None:
    handle, name = tempfile.mkstemp(dir=tmp_path)
    os.close(handle)
    before = os.umask(0o022)
    try:
        put_in_place(Path(name), tmp_path / "file")
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "file").stat().st_mode) == 0o644


def test_unsynced_file__is_complete_and_is_synced_later(tmp_path: Path) -> None:
    path = tmp_path / "new" / "file"
    write_bytes_atomic(path, b"content", synced=False)
    sync_file(path)
    assert path.read_bytes() == b"content"
    assert [one.name for one in path.parent.iterdir()] == ["file"]
    with pytest.raises(RunError, match="could not be written"):
        sync_file(tmp_path / "none")
