"""Files of a data set, written by threads: recordings are read while files reach the disk."""

from collections import deque
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

from occfeat.machine.atomic import sync_file, sync_folder, write_bytes_atomic

THREADS = 2
"""Number of threads: one writes while the other waits for the disk."""
MOST_PENDING = 12
"""Largest number of files in memory that are not written yet."""


class FilesInBackground:
    """Writes files atomically and forces them to disk, in threads of its own.

    What fails is raised by a later call. Call `close` before anybody else may write these files.
    """

    def __init__(self) -> None:
        self._threads = ThreadPoolExecutor(THREADS, "files")
        self._pending: deque[Future[None]] = deque()
        self._folders: dict[Path, None] = {}

    def write(self, path: Path, content: bytes | memoryview) -> None:
        """Write a file soon; wait while too many are pending. The content must not change any more.

        Raises:
            RunError: An earlier file could not be written, for lack of space or permission.
        """
        while len(self._pending) >= MOST_PENDING or (self._pending and self._pending[0].done()):
            self._pending.popleft().result()
        self._folders[path.parent] = None
        self._pending.append(self._threads.submit(_write, path, content))

    def finish(self) -> None:
        """Wait until all files and their names are on disk.

        Raises:
            RunError: A file could not be written.
        """
        while self._pending:
            self._pending.popleft().result()
        for folder in self._folders:
            sync_folder(folder)

    def close(self) -> None:
        """Stop writing. Files that are still pending are forgotten."""
        self._threads.shutdown(cancel_futures=True)


def _write(path: Path, content: bytes | memoryview) -> None:
    """Write a file and force it to disk. Its name can follow later, with others of its folder."""
    write_bytes_atomic(path, content, synced=False)
    sync_file(path)
