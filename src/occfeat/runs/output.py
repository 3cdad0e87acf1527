"""Folders that a command writes into: empty, writable, or refused before any work is done.

This module imports no torch.
"""

import os
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from pathlib import Path

from occfeat.errors import RunError
from occfeat.machine.atomic import LOCK, partial_of
from occfeat.runs.folder import RunFolder


def require_free(path: Path, command: str) -> None:
    """Refuse to start a run in a folder that is not empty.

    The remains of a run that was killed before it could be resumed are ignored.

    Raises:
        RunError: The folder holds something; the hint names the two ways on.
    """
    require_writable(path)  # first: a name too long for any file would end the look at its content
    folder = RunFolder(path)
    way_on = f"Resume the run in it with `occfeat {command} --resume {path}`, or choose another --out."
    hint = way_on if folder.resumable_command() == command else "Choose another --out."
    begun = (folder.environment, partial_of(folder.environment), partial_of(folder.settings))
    require_empty(path, hint=hint, except_for={LOCK, *(file.name for file in begun)})


def require_empty(path: Path, *, hint: str, except_for: Collection[str] = ()) -> None:
    """Refuse to write into a folder that holds something; makes nothing.

    Args:
        path: The folder.
        hint: What to do if it is refused.
        except_for: Names of files that may be there.

    Raises:
        RunError: The folder holds something else, or cannot be made or written.
    """
    require_writable(path)
    with _folder_errors(path):
        if path.is_dir() and any(file.name not in except_for for file in path.iterdir()):
            raise RunError(f"The folder {path} is not empty.", hint=hint)


def require_writable(path: Path) -> None:
    """Refuse a folder that cannot be made or written, as far as can be told without making it.

    Raises:
        RunError: The folder cannot be made or written.
    """
    with _folder_errors(path):
        nearest = next(folder for folder in (path, *path.parents) if _exists(folder))
        if not nearest.is_dir():
            raise RunError(f"{nearest} is a file, not a folder.", hint="Choose another --out.")
        if not os.access(nearest, os.W_OK):
            made = "" if nearest == path else f"The folder {path} cannot be made: "
            hint = "Check its rights, or choose another --out."
            raise RunError(f"{made}{nearest} cannot be written.", hint=hint)


def _exists(path: Path) -> bool:
    """Return whether there is a file or folder; errors are those of the system on every version of Python.

    Raises:
        OSError: It cannot be looked for.
    """
    try:
        path.stat()
    except (FileNotFoundError, NotADirectoryError):
        return False
    return True


def make_folder(path: Path) -> None:
    """Make a folder and those above it, unless they exist.

    Raises:
        RunError: The folder cannot be made.
    """
    with _folder_errors(path):
        path.mkdir(parents=True, exist_ok=True)


@contextmanager
def _folder_errors(path: Path) -> Iterator[None]:
    """Turn errors of the system about a folder into errors that name it."""
    try:
        yield
    except OSError as error:
        message = f"The folder {path} cannot be made or written: {error.strerror or error}."
        raise RunError(message, hint="Check the folders above it, or choose another --out.") from error
