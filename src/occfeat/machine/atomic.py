"""Atomic writes: a file is complete or absent, even after a crash."""

import errno
import logging
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from filelock import FileLock, Timeout
from safetensors import SafetensorError

from occfeat.errors import RunError

_log = logging.getLogger(__name__)

WITHOUT_LOCKS = frozenset({errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP, errno.ENOTSUP})
"""Errors of file systems that have no locks, such as some network disks."""


def write_atomic(path: Path, write: Callable[[Path], object], *, synced: bool = True) -> None:
    """Write a file under a temporary name, force it to disk, then rename it.

    Args:
        path: The file.
        write: Writes the content to the temporary path it is given.
        synced: Whether to force it and its name to disk. `sync_file` and `sync_folder` do that later.

    Raises:
        RunError: The file cannot be written, for lack of space or permission. An existing file is kept.
    """
    temporary = partial_of(path)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write(temporary)
        if synced:
            put_in_place(temporary, path)
        else:
            temporary.replace(path)
    except BaseException as error:
        with suppress(OSError):  # its folder may be a file
            temporary.unlink(missing_ok=True)
        if not isinstance(error, OSError | SafetensorError):
            raise
        raise RunError(
            f"{path} could not be written: {error}",
            hint="Free disk space or check the folder's permissions, then try again (a run: with --resume).",
        ) from error


def partial_of(path: Path) -> Path:
    """Return the temporary name of a file that is being written."""
    return path.with_name(f".{path.name}.partial")


def write_text_atomic(path: Path, text: str) -> None:
    """Write a text file as `write_atomic` does."""
    write_atomic(path, lambda temporary: temporary.write_text(text, encoding="utf-8"))


def write_bytes_atomic(path: Path, content: bytes | memoryview, *, synced: bool = True) -> None:
    """Write a binary file as `write_atomic` does."""
    write_atomic(path, lambda temporary: temporary.write_bytes(content), synced=synced)


def sync_file(path: Path) -> None:
    """Force a file, but not its name, to disk.

    Raises:
        RunError: It cannot be written, for lack of space.
    """
    try:
        with path.open("rb+") as file:
            os.fsync(file.fileno())
    except OSError as error:
        hint = "Free disk space, then try again."
        raise RunError(f"{path} could not be written: {error}", hint=hint) from error


LOCK = ".lock"
"""Name of the file that is locked while a process writes to its folder."""


@contextmanager
def lock_folder(path: Path) -> Iterator[None]:
    """Keep other processes from writing to a folder; only warn where a file system has no locks.

    Raises:
        RunError: Another process is writing to the folder, or the folder cannot be written.
    """
    lock = FileLock(path / LOCK)
    try:
        lock.acquire(timeout=0)
    except Timeout as error:
        hint = "Wait until it ends, or choose another folder."
        raise RunError(f"Another process is writing to {path}.", hint=hint) from error
    except (OSError, NotImplementedError) as error:
        if isinstance(error, OSError) and error.errno not in WITHOUT_LOCKS:
            hint = "Check the folder's permissions."
            raise RunError(f"{path} cannot be written: {error.strerror or error}.", hint=hint) from error
        what = "The file system of %s has no locks (%s): make sure that no other process writes there."
        _log.warning(what, path, getattr(error, "strerror", None) or error)
    try:
        yield
    finally:
        lock.release()


def put_in_place(temporary: Path, path: Path) -> None:
    """Force a finished file to disk, rename it, and force the new name to disk.

    Raises:
        OSError: The file cannot be renamed. An existing file of that name is kept.
    """
    with temporary.open("rb+") as file:
        os.fsync(file.fileno())
    temporary.chmod(0o666 & ~_umask())  # some programs create files that only their owner can read
    temporary.replace(path)
    sync_folder(path.parent)


def sync_folder(folder: Path) -> None:
    """Force the names of the files in a folder to disk, where the system supports it."""
    if hasattr(os, "O_DIRECTORY"):
        handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)


def _umask() -> int:
    """Return the umask of the process."""
    mask = os.umask(0)
    os.umask(mask)
    return mask
