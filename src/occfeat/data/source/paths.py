"""Safe paths from file names in tables: they cannot leave the data folder.

Links inside the data folder are followed. Links that lead out of it are refused, even a linked `samples`
folder. The data folder itself can be a link to the folder of the real files. The links of folders are
followed once per process, those of files each time.
"""

import os
import re
import stat
from contextlib import suppress
from functools import lru_cache
from pathlib import Path, PurePosixPath, PureWindowsPath

from occfeat.errors import KeyFrameError

_PLAIN = re.compile(r"(?!\.+$)[^/\\:\0]+")
_HINT = (
    "Names must be relative to the data folder and stay inside it, even through links. If `samples` is on "
    "another disk, mount it there or give the folder that really contains it."
)


def resolve(root: Path, relative: str) -> Path:
    """Return the path of a file that a table names.

    Args:
        root: The data folder, which can itself be a link.
        relative: Name in the table, with forward slashes.

    Raises:
        KeyFrameError: The name is empty or absolute, contains `..`, or leads out of the folder by a link.
    """
    folder, _, name = relative.rpartition("/")
    if folder and is_plain_name(name):  # the folders of a data set have many files each
        with suppress(KeyFrameError, OSError, ValueError):  # `_resolve` says what is wrong
            path = _folder(root, folder) / name
            if not stat.S_ISLNK(os.lstat(path).st_mode):
                return path
    return _resolve(root, relative)


@lru_cache(maxsize=4096)
def _folder(root: Path, relative: str) -> Path:
    """Return the path of a folder with all links followed; errors are not remembered.

    Raises:
        KeyFrameError: As `resolve`.
        NotADirectoryError: There is no such folder yet.
    """
    path = _resolve(root, relative)
    if not path.is_dir():
        raise NotADirectoryError(path)
    return path


def _resolve(root: Path, relative: str) -> Path:
    """Return the path of a file or folder with all links followed.

    Raises:
        KeyFrameError: As `resolve`.
    """
    if leaves(relative):
        raise KeyFrameError(f"File name {relative!r} leaves the data folder {root}.", hint=_HINT)
    try:
        real_root = _real(root)
        path = _follow(real_root / relative)
    except (OSError, RuntimeError, ValueError) as error:  # a loop of links, a long name, a null byte
        raise KeyFrameError(f"File name {relative!r} in {root} cannot be used: {error}.") from error
    if not path.is_relative_to(real_root):
        raise KeyFrameError(f"File {relative!r} leaves the data folder {root} by a link.", hint=_HINT)
    return path


def _follow(path: Path) -> Path:
    """Return a path with all links followed, whether or not there is such a file.

    Raises:
        OSError: Its links form a loop, or a name is too long.
        RuntimeError: Its links form a loop.
    """
    try:
        return path.resolve(strict=True)  # without `strict`, loops are no error since Python 3.13
    except (FileNotFoundError, NotADirectoryError):
        return path.resolve()


@lru_cache(maxsize=64)
def _real(root: Path) -> Path:
    """Return the folder that a data folder is, or that it links to."""
    return root.resolve()


def is_plain_name(name: str) -> bool:
    """Return whether a string is a file name without a folder part, on any system."""
    return _PLAIN.fullmatch(name) is not None


def leaves(relative: str) -> bool:
    """Return whether a name is empty or leads out of the data folder; links are not followed.

    The rules of both POSIX and Windows apply, so the result is the same on every system.
    """
    posix, windows = PurePosixPath(relative), PureWindowsPath(relative)
    return (
        not posix.parts
        or "\0" in relative
        or posix.is_absolute()
        or bool(windows.drive or windows.root)
        or ".." in posix.parts
        or ".." in windows.parts
    )
