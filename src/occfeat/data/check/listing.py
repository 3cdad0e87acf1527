"""Look up many files of a data folder, listing each folder only once."""

import os
import re
import stat
from dataclasses import dataclass
from pathlib import Path

from occfeat.data.source.paths import leaves, resolve
from occfeat.errors import KeyFrameError

_PLAIN = re.compile(r"[\w+-][\w.+-]*")


@dataclass(frozen=True)
class Listed:
    """The file that a name in a table refers to."""

    size: int
    """Size of the file in bytes; -1 if it does not exist."""
    leaves_root: bool = False
    """Whether the name leads out of the data folder."""


class Listing:
    """Files of a data folder, by their names in tables."""

    def __init__(self, root: Path) -> None:
        self._root = root
        self._folders: dict[str, dict[str, os.DirEntry[str]] | None] = {}

    def look_up(self, relative: str) -> Listed:
        """Return the size of a file, and whether its name leaves the data folder."""
        folder, _, name = relative.rpartition("/")
        # the common case: a plain name in a folder that is inside cannot leave the data folder
        if (folder not in self._folders or not _PLAIN.fullmatch(name)) and leaves(relative):
            return Listed(-1, leaves_root=True)
        if folder not in self._folders:
            self._folders[folder] = self._list(folder)
        entries = self._folders[folder]
        if entries is None or ((entry := entries.get(name)) is not None and entry.is_symlink()):
            return self._follow(relative)
        if entry is None:
            return Listed(-1)
        try:
            status = entry.stat()
        except OSError:
            return Listed(-1)
        return Listed(status.st_size if stat.S_ISREG(status.st_mode) else -1)

    def _list(self, folder: str) -> dict[str, os.DirEntry[str]] | None:
        """Return the entries of a folder; None if it is outside the data folder."""
        try:
            with os.scandir(resolve(self._root, folder) if folder else self._root) as entries:
                return {entry.name: entry for entry in entries}
        except KeyFrameError:
            return None
        except OSError:
            return {}

    def _follow(self, relative: str) -> Listed:
        """Look up a name after following its links."""
        try:
            path = resolve(self._root, relative)
        except KeyFrameError:
            return Listed(-1, leaves_root=True)
        return Listed(path.stat().st_size if path.is_file() else -1)
