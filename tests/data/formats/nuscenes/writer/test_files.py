"""Files written by threads: complete, bounded in memory, and errors are not lost."""

import threading
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest

from occfeat.data.formats.nuscenes.writer import files
from occfeat.data.formats.nuscenes.writer.files import MOST_PENDING, THREADS, FilesInBackground
from occfeat.errors import RunError


def test_files__are_complete_and_nothing_else_is_left(tmp_path: Path) -> None:
    points = np.arange(15, dtype=np.float32).reshape(3, 5)
    with closing(FilesInBackground()) as writer:
        for number in range(3 * MOST_PENDING):
            writer.write(tmp_path / f"{number % 3}/{number}", bytes([number]) * number)
        writer.write(tmp_path / "points", points.data)
        writer.write(tmp_path / "empty", points[:0].data)
        writer.finish()
        assert (tmp_path / "points").read_bytes() == points.tobytes()
        assert (tmp_path / "empty").read_bytes() == b""
        for number in range(3 * MOST_PENDING):
            assert (tmp_path / f"{number % 3}/{number}").read_bytes() == bytes([number]) * number
    assert not list(tmp_path.rglob(".*"))


def test_files__wait_for_a_slow_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    go_on, begun = threading.Event(), []

    def wait(path: Path) -> None:
        begun.append(path)
        go_on.wait(10)

    monkeypatch.setattr(files, "sync_file", wait)
    with closing(FilesInBackground()) as writer:
        for number in range(MOST_PENDING):
            writer.write(tmp_path / str(number), b"content")
        more = threading.Thread(target=writer.write, args=(tmp_path / "more", b"content"))
        more.start()
        more.join(0.2)
        assert more.is_alive()
        assert len(begun) <= THREADS
        go_on.set()
        more.join(10)
        writer.finish()
    assert len(list(tmp_path.iterdir())) == MOST_PENDING + 1


def write_often(writer: FilesInBackground, path: Path) -> None:
    for _ in range(2 * MOST_PENDING):
        writer.write(path, b"content")


def test_failed_file__is_named_by_a_later_call(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with closing(FilesInBackground()) as writer:
        writer.write(tmp_path / "file" / "below", b"content")
        with pytest.raises(RunError, match="below could not be written"):
            writer.finish()
    with closing(FilesInBackground()) as writer, pytest.raises(RunError, match="below could not be written"):
        write_often(writer, tmp_path / "file" / "below")


def test_closed_writer__writes_nothing_more(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    go_on = threading.Event()
    monkeypatch.setattr(files, "sync_file", lambda _: go_on.wait(10))
    writer = FilesInBackground()
    for number in range(MOST_PENDING):
        writer.write(tmp_path / str(number), b"content")
    threading.Timer(0.2, go_on.set).start()
    writer.close()
    assert len(list(tmp_path.iterdir())) <= THREADS
