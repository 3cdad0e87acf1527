"""File names from tables, made into paths that cannot leave the data folder.

Links inside the data folder are followed, links that lead out of it are refused, a linked `samples` folder
too. The data folder itself may be a link: make one to a folder that holds the real files, or mount the
other disk there.
"""

import re
from pathlib import Path, PurePosixPath, PureWindowsPath

from occfeat.errors import KeyFrameError

_PLAIN = re.compile(r"(?!\.+$)[^/\\:\0]+")
_HINT = (
    "Names must be relative to the data folder and stay inside it, links followed. If `samples` lies on "
    "another disk, mount it there or give the folder that really holds it."
)


def resolve(root: Path, relative: str) -> Path:
    """Return the path of a file named in a table.

    Args:
        root: The data folder; may itself be a link.
        relative: Name as the table gives it, with forward slashes.

    Raises:
        KeyFrameError: The name is empty or absolute, contains `..`, or leads out of the folder by a link.
    """
    if leaves(relative):
        raise KeyFrameError(f"File name {relative!r} leaves the data folder {root}.", hint=_HINT)
    try:
        real_root = root.resolve()
        path = (real_root / relative).resolve()
    except (OSError, RuntimeError, ValueError) as error:  # a loop of links, a name too long, a null byte
        raise KeyFrameError(f"File name {relative!r} in {root} cannot be used: {error}.") from error
    if not path.is_relative_to(real_root):
        raise KeyFrameError(f"File {relative!r} leaves the data folder {root} by a link.", hint=_HINT)
    return path


def is_plain_name(name: str) -> bool:
    """Return whether a file can be named after it without landing in another folder, on any system."""
    return _PLAIN.fullmatch(name) is not None


def leaves(relative: str) -> bool:
    """Return whether a name leads out of the data folder or is empty, links aside.

    Both systems' rules are applied, so that a data set that is refused is refused everywhere.
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
