"""Files that are there whole or not at all, whatever stops the machine."""

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from filelock import FileLock, Timeout
from safetensors import SafetensorError

from occfeat.errors import RunError


def write_atomic(path: Path, write: Callable[[Path], object]) -> None:
    """Write a file under a temporary name, force it to disk, and only then give it its name.

    Raises:
        RunError: It cannot be written, for lack of space or rights; an older file stays as it was.
    """
    temporary = path.with_name(f".{path.name}.partial")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write(temporary)
        put_in_place(temporary, path)
    except BaseException as error:
        with suppress(OSError):  # its folder may be a file
            temporary.unlink(missing_ok=True)
        if not isinstance(error, OSError | SafetensorError):
            raise
        raise RunError(
            f"{path} could not be written: {error}",
            hint="Free disk space or check the rights of the folder, then repeat it (a run: with --resume).",
        ) from error


def write_text_atomic(path: Path, text: str) -> None:
    """Write a text file in the same way; see `write_atomic`."""
    write_atomic(path, lambda temporary: temporary.write_text(text))


LOCK = ".lock"
"""Name of the file that says that somebody is writing to its folder."""


@contextmanager
def lock_folder(path: Path) -> Iterator[None]:
    """Keep other processes from writing to a folder.

    Raises:
        RunError: Another one is writing to it, or this one may not.
    """
    lock = FileLock(path / LOCK)
    try:
        lock.acquire(timeout=0)
    except Timeout as error:
        hint = "Wait for it to end, or choose another --out."
        raise RunError(f"Another process is writing to {path}.", hint=hint) from error
    except OSError as error:
        hint = "Check the rights of the folder."
        raise RunError(f"{path} cannot be written: {error.strerror or error}.", hint=hint) from error
    try:
        yield
    finally:
        lock.release()


def put_in_place(temporary: Path, path: Path) -> None:
    """Force a finished file to disk, give it its name, and force the name to disk, too.

    Raises:
        OSError: It cannot be done; an older file of that name stays.
    """
    with temporary.open("rb+") as file:
        os.fsync(file.fileno())
    temporary.chmod(0o666 & ~_umask())  # some programs make files that only their owner can read
    temporary.replace(path)
    sync_folder(path.parent)


def sync_folder(folder: Path) -> None:
    """Force to disk which files a folder holds, where the system can do that."""
    if hasattr(os, "O_DIRECTORY"):
        handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask
