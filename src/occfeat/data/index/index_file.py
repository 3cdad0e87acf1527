"""Where an index file lies, whether it is current, and how it is written.

Current means: of this version of the layout, and made from tables with these contents. Contents are compared
by hash, so a copied set keeps its index. As hashing gigabytes takes seconds, a small file beside the index
remembers the sizes and times of the tables whose hashes were last found right; while those stay the same,
opening reads nothing but the index itself. Of the processes that need an index that is not there, one builds
it under a lock.
"""

import gc
import hashlib
import logging
import os
import sys
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import orjson
import pyarrow as pa
from filelock import BaseFileLock, FileLock, Timeout

from occfeat.atomic import put_in_place
from occfeat.data.index.arrow import SCHEMA_VERSION
from occfeat.data.index.soundness import require_numbers, require_sound
from occfeat.data.nuscenes.tables import (
    NEEDED_TABLES,
    OTHER_TABLES,
    hash_table,
    indexed_tables,
    require_tables,
)
from occfeat.data.place import Place
from occfeat.errors import DatasetError, SettingsError

_log = logging.getLogger(__name__)

_NAME = f"occfeat-index-{SCHEMA_VERSION}"


@dataclass(frozen=True)
class Metadata:
    """What holds for the whole set."""

    channels: tuple[str, ...]
    categories: tuple[str, ...]
    scenes: tuple[str, ...]
    places: tuple[Place, ...]
    """Where each scene was recorded."""
    hashes: dict[str, str]
    """Hash of the content of each table that was read."""
    fingerprint: str
    """Hash of all that every index needs."""
    loose_faults: tuple[tuple[str, int, tuple[str, ...]], ...]
    """Faults that belong to no key frame: kind, number, first messages."""


def find_version(root: Path, version: str | None) -> str:
    """Name of the folder with the tables.

    Raises:
        DatasetError: There is none.
        SettingsError: There are several and none was chosen.
    """
    if not root.is_dir():
        what = "is a file, not a folder" if root.is_file() else "does not exist"
        raise DatasetError(f"Data folder {root} {what}.", hint="Check the path (`--data`).")
    try:
        found = sorted(folder.name for folder in root.iterdir() if folder.is_dir() and _has_tables(folder))
    except OSError as error:
        raise DatasetError(f"Data folder {root} cannot be read: {error.strerror or error}.") from error
    if version is not None:
        if Path(version).name != version or not (root / version).is_dir():
            hint = f"Versions there: {', '.join(found) or 'none'}."
            raise DatasetError(f"Data folder {root} has no version {version!r}.", hint=hint)
        return version
    if not found:
        hint = "Give the folder that holds `v1.0-trainval` (or another version), `samples` and so on."
        if _has_tables(root):
            hint = f"It holds the tables themselves: give the folder above, {root.parent}."
        raise DatasetError(f"Data folder {root} has no folder with nuScenes tables in it.", hint=hint)
    if len(found) > 1:
        hint = "Choose one with `--version`."
        raise SettingsError(f"Data folder {root} holds several versions.", first=found, hint=hint)
    return found[0]


def _has_tables(folder: Path) -> bool:
    return any((folder / f"{name}.json").is_file() for name in (*NEEDED_TABLES, *OTHER_TABLES))


def open_or_build(root: Path, version: str, *, rebuild: bool) -> Path:
    """Path of a current index of these tables, built now if need be."""
    folder = root / version
    require_tables(folder)
    places = (folder / f"{_NAME}.arrow", _cache_folder(folder) / f"{_NAME}.arrow")
    if not rebuild and (path := _find_current(folder, places)):
        return path
    with _lock(places) as waited:
        if waited and (path := _find_current(folder, places)):
            return path
        return _build(folder, places)


def _find_current(folder: Path, places: tuple[Path, ...]) -> Path | None:
    """The first current index."""
    return next((path for path in places if path.is_file() and _is_current(path, folder)), None)


@contextmanager
def _lock(places: tuple[Path, ...]) -> Iterator[bool]:
    """Keep other processes from building the index, too; gives whether one of them had to be waited for.

    The lock lies where the index will. Where nothing can be written, or no file can be locked, each process
    builds its own.
    """
    with ExitStack() as held:
        waited = False
        for path in places:
            try:
                path.parent.mkdir(parents=True, exist_ok=True)
                lock = FileLock(path.with_name(f".{_NAME}.lock"))
                waited = _acquire(lock)
            except (OSError, NotImplementedError) as error:
                _log.debug("Cannot lock the index in %s (%s).", path.parent, error)
                continue
            held.callback(lock.release)
            break
        yield waited


def _acquire(lock: BaseFileLock) -> bool:
    """Take a lock; gives whether another process had it."""
    try:
        lock.acquire(timeout=0)
        return False
    except Timeout:
        _log.info("Another process is building the index; waiting for it.")
        lock.acquire()
        return True


def map_index(path: Path) -> tuple[pa.Table, Metadata]:
    """Map an index file into memory.

    Raises:
        DatasetError: It cannot be read.
    """
    try:
        with pa.memory_map(str(path)) as source:
            table = pa.ipc.open_file(source).read_all()
        table.validate()
        return table, _metadata(table)
    except (OSError, pa.ArrowException, ValueError, KeyError, TypeError) as error:
        hint = "Build it again with `occfeat index --rebuild`."
        raise DatasetError(f"The index {path} cannot be read: {error}.", hint=hint) from error


def _metadata(table: pa.Table) -> Metadata:
    values = orjson.loads(table.schema.metadata[b"occfeat"])
    if values["schema_version"] != SCHEMA_VERSION:
        raise ValueError(f"its layout is version {values['schema_version']}, not {SCHEMA_VERSION}")
    return Metadata(
        channels=tuple(values["channels"]),
        categories=tuple(values["categories"]),
        scenes=tuple(values["scenes"]),
        places=tuple(Place(**place) for place in values["places"]),
        hashes=values["hashes"],
        fingerprint=values["fingerprint"],
        loose_faults=tuple(
            (fault["kind"], fault["count"], tuple(fault["first"])) for fault in values["loose_faults"]
        ),
    )


def _require_sound(path: Path) -> Metadata:
    """The metadata of an index file of which every byte was looked at; it is let go of again.

    Raises:
        DatasetError: It is damaged.
    """
    try:
        table, metadata = map_index(path)
        require_sound(table)
        require_numbers(
            table,
            scenes=min(len(metadata.scenes), len(metadata.places)),
            channels=len(metadata.channels),
            categories=len(metadata.categories),
        )
    except (pa.ArrowException, ValueError) as error:
        raise DatasetError(f"The index {path} is damaged: {error}.") from error
    return metadata


def _is_current(path: Path, folder: Path) -> bool:
    """Whether an index is whole and was made from the tables as they are now."""
    try:
        hashes = _require_sound(path).hashes
    except DatasetError as error:
        _log.warning("%s It is built again.", error.message)
        return False
    stamps = _stamps(folder)
    if _read_stamps(path) == stamps:
        return True
    _log.info("The tables in %s have other times than when they were indexed; comparing contents.", folder)
    if {name: hash_table(folder / f"{name}.json") for name in indexed_tables(folder)} == hashes:
        _write_stamps(path, stamps)
        return True
    _log.warning("The tables in %s have changed since %s was built. It is built again.", folder, path)
    return False


def _stamps(folder: Path) -> dict[str, list[int]]:
    """Size and time of change of each table."""
    stats = {name: (folder / f"{name}.json").stat() for name in indexed_tables(folder)}
    return {name: [stat.st_size, stat.st_mtime_ns] for name, stat in stats.items()}


def _read_stamps(path: Path) -> Any:
    try:
        return orjson.loads(path.with_suffix(".json").read_bytes())
    except (OSError, orjson.JSONDecodeError):
        return None


def _write_stamps(path: Path, stamps: dict[str, list[int]]) -> None:
    try:
        _write_atomically(path.with_suffix(".json"), lambda stream: stream.write(orjson.dumps(stamps)))
    except OSError:  # in a read-only place contents are compared again next time
        _log.debug("Cannot remember the times of the tables beside %s", path)


def _build(folder: Path, places: tuple[Path, ...]) -> Path:
    """Read the tables and write the index to the first place that can be written."""
    stamps = _stamps(folder)
    table = _join_with_progress(folder, sum(size for size, _ in stamps.values()))
    failures = []
    for path in places:
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            _write_atomically(path, lambda stream: _write_table(stream, table))
        except OSError as error:
            failures.append(f"{path.parent}: {error.strerror or error}")
            _log.info("Cannot write the index to %s (%s).", path.parent, error.strerror or error)
            continue
        _write_stamps(path, stamps)
        _log.info("Wrote the index of %d key frames to %s", len(table), path)
        return path
    hint = "Make room in one of them, or point XDG_CACHE_HOME to a folder that can be written."
    raise DatasetError("The index can be written nowhere.", first=failures, hint=hint)


def _join_with_progress(folder: Path, total_bytes: int) -> pa.Table:
    from rich.console import Console
    from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn

    from occfeat.data.nuscenes.join import join

    _log.info("Building the index of %s (%.0f MB of tables; done once)", folder, total_bytes / 1e6)
    columns = (
        TextColumn("indexing {task.fields[name]}"),
        BarColumn(),
        DownloadColumn(),
        TimeRemainingColumn(),
    )
    console = Console(file=sys.stderr)
    with Progress(*columns, console=console, disable=not console.is_terminal, transient=True) as progress:
        task = progress.add_task("", total=total_bytes, name=folder.name)
        with _no_garbage_collection():
            return join(folder, lambda count: progress.advance(task, count))


@contextmanager
def _no_garbage_collection() -> Iterator[None]:
    """Millions of records without cycles: looking for cycles among them would take a third of the time."""
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_enabled:
            gc.enable()


def _write_table(stream: Any, table: pa.Table) -> None:
    with pa.ipc.new_file(stream, table.schema) as writer:
        writer.write_table(table, max_chunksize=max(len(table), 1))


def _write_atomically(path: Path, write: Any) -> None:
    """Write under another name and rename: a reader sees the old file or the new one, never half of one."""
    handle, name = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
    temporary = Path(name)
    try:
        with os.fdopen(handle, "wb") as stream:
            write(stream)
        put_in_place(temporary, path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


def _cache_folder(folder: Path) -> Path:
    """Folder for the index of tables that lie in a read-only place, one for each such place."""
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    place = hashlib.blake2b(str(folder.resolve()).encode(), digest_size=8).hexdigest()
    return Path(base) / "occfeat" / f"{folder.name}-{place}"
