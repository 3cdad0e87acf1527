"""Files that are there whole or not at all, whatever stops the machine."""

import os
from pathlib import Path


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
