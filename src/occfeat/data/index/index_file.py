"""Index files: where they are, whether they are current, and how they are written.

An index is current if it has this version of the layout and was built by the same data source from files
with the same contents. Contents are compared by hash, so a copied data set keeps its index. Hashing gigabytes
takes seconds. A small file beside the index therefore stores the sizes and times of the files whose hashes
last matched; while these are unchanged, opening reads only the index itself. If several processes need a
missing index, one builds it under a lock.

Every index is validated before use: Arrow maps a file without reading it, and would read beyond the memory
of a damaged one. The same small file stores the size and times of the index that was last validated, and
while these are unchanged, it is not read again.
"""

import gc
import hashlib
import logging
import os
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import orjson
import pyarrow as pa
from filelock import BaseFileLock, FileLock, Timeout

from occfeat.data.index.arrow import SCHEMA, SCHEMA_VERSION, assemble
from occfeat.data.index.validate import require_below
from occfeat.data.source.place import Place
from occfeat.data.source.source import DataSource
from occfeat.data.source.tables import Joined
from occfeat.errors import DatasetError, LensError, OccFeatError
from occfeat.geometry.lens import Lens, parse_lens
from occfeat.machine.atomic import put_in_place

_log = logging.getLogger(__name__)

_NAME = f"occfeat-index-{SCHEMA_VERSION}"

_UNNAMED = "nuscenes"
"""Source of old indexes, which name none."""

_SETTLED_NS = 2_000_000_000
"""Age at which a file surely gets another time when it is written again, however coarse its clock is."""

_READING_HINT = "Restore the files if they are damaged; otherwise `join` of the data source is wrong."
_SLIPS = (ArithmeticError, AttributeError, LookupError, OSError, TypeError, ValueError, pa.ArrowException)
"""What wrong files or tables make the code of a data source raise."""


@dataclass(frozen=True)
class Metadata:
    """Metadata of the whole data set."""

    source: str
    """Name of the data source that built the index."""
    channels: tuple[str, ...]
    lidars: tuple[str, ...]
    categories: tuple[str, ...]
    lenses: tuple[Lens, ...]
    scenes: tuple[str, ...]
    places: tuple[Place, ...]
    """The place of each scene."""
    hashes: dict[str, str]
    """Hash of each file that was read."""
    fingerprint: str
    """Hash of all required files."""
    loose_faults: tuple[tuple[str, int, tuple[str, ...]], ...]
    """Faults without a key frame: kind, number, first messages."""


def open_or_build(source: DataSource, *, rebuild: bool) -> Path:
    """Return the path of a current index of a data set; build it if necessary.

    Raises:
        DatasetError: A file of the data set is missing or damaged, or the index cannot be written anywhere.
    """
    source.require_files()
    folders = (source.folder, *_cache_folders(source.folder))
    paths = tuple(folder / f"{_NAME}.arrow" for folder in folders)
    if not rebuild and (path := _find_current(source, paths)):
        return path
    with _lock(paths) as waited:
        if waited and (path := _find_current(source, paths)):
            return path
        return _build(source, paths)


@contextmanager
def blaming(source: DataSource, did: str, hint: str) -> Iterator[None]:
    """Turn what a data source raises into an error that names its format; errors of users pass.

    Args:
        source: The source whose code, or tables, are used meanwhile.
        did: What it did wrong, to follow its name.
        hint: What to do about it.

    Raises:
        DatasetError: Something was raised.
    """
    try:
        yield
    except OccFeatError:
        raise
    except _SLIPS as error:
        what = str(error) if type(error) is ValueError else f"{type(error).__name__}: {error}"
        raise DatasetError(f"The data source {source.name} {did}: {what}.", hint=hint) from error


def _find_current(source: DataSource, paths: tuple[Path, ...]) -> Path | None:
    """Return the first current index."""
    return next((path for path in paths if path.is_file() and _is_current(path, source)), None)


@contextmanager
def _lock(paths: tuple[Path, ...]) -> Iterator[bool]:
    """Keep other processes from building the index; yield whether this one had to wait.

    The lock is beside the index. Where files cannot be written or locked, each process builds its own index.
    """
    with ExitStack() as held:
        waited = False
        for path in paths:
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
    """Acquire a lock; return whether another process held it."""
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
    except (OSError, pa.ArrowException, ValueError, KeyError, TypeError, LensError) as error:
        hint = "Rebuild it with `occfeat index --rebuild`."
        raise DatasetError(f"The index {path} cannot be read: {error}.", hint=hint) from error


def _metadata(table: pa.Table) -> Metadata:
    """Return the metadata of an index."""
    values = orjson.loads(table.schema.metadata[b"occfeat"])
    if values["schema_version"] != SCHEMA_VERSION:
        raise ValueError(f"expected layout version {SCHEMA_VERSION}, got {values['schema_version']}")
    return Metadata(
        source=values.get("source", _UNNAMED),
        channels=tuple(values["channels"]),
        lidars=tuple(values["lidars"]),
        categories=tuple(values["categories"]),
        lenses=tuple(parse_lens(record) for record in values["lenses"]),
        scenes=tuple(values["scenes"]),
        places=tuple(Place(**place) for place in values["places"]),
        hashes=values["hashes"],
        fingerprint=values["fingerprint"],
        loose_faults=tuple(
            (fault["kind"], fault["count"], tuple(fault["first"])) for fault in values["loose_faults"]
        ),
    )


def _require_sound(path: Path) -> Metadata:
    """Validate an index file completely and return its metadata.

    Raises:
        DatasetError: It is damaged.
    """
    try:
        table, metadata = map_index(path)
        _require_whole(table, metadata)
    except (pa.ArrowException, ValueError) as error:
        raise DatasetError(f"The index {path} is damaged: {error}.") from error
    return metadata


def _require_whole(table: pa.Table, metadata: Metadata) -> None:
    """Refuse a table that is not a valid index.

    Raises:
        ArrowException: Its lists or strings point beyond its memory.
        ValueError: Its columns or numbers are invalid.
    """
    require_sound(table)
    require_numbers(
        table,
        scenes=min(len(metadata.scenes), len(metadata.places)),
        channels=len(metadata.channels),
        lenses=len(metadata.lenses),
        lidars=len(metadata.lidars),
        categories=len(metadata.categories),
    )


def require_sound(table: pa.Table) -> None:
    """Refuse a table that is not a valid index, without regard to its metadata.

    Raises:
        ArrowException: Its lists or strings point beyond its memory.
        ValueError: It has other columns, nulls, or more than one chunk.
    """
    if not table.schema.equals(SCHEMA):
        raise ValueError("its columns are not those of an index")
    table.validate(full=True)
    for name in table.column_names:
        if table[name].num_chunks > 1:
            raise ValueError(f"expected column {name} in one chunk, got several")
        if any(map(_has_nulls, table[name].chunks)):
            raise ValueError(f"column {name} has nulls")


def require_numbers(
    table: pa.Table, *, scenes: int, channels: int, lenses: int, lidars: int, categories: int
) -> None:
    """Refuse a table with numbers that are out of range for its metadata.

    Raises:
        ValueError: A number is out of range, or key frames are not ordered by scene.
    """
    if not len(table):
        return
    scene = table["scene"].chunk(0).to_numpy()
    if (np.diff(scene) < 0).any():
        raise ValueError("its key frames are not ordered by scene")
    require_below(table["scene"].chunk(0), scenes, "scene")
    require_below(table["cameras"].chunk(0).values.field("channel"), channels, "camera")
    require_below(table["cameras"].chunk(0).values.field("lens"), lenses, "lens")
    require_below(table["sweeps"].chunk(0).values.field("lidar"), lidars, "LiDAR")
    require_below(table["boxes"].chunk(0).values.field("category"), categories, "category")
    for name in ("height", "width"):
        require_below(table["cameras"].chunk(0).values.field(name), 2**31, name)


def _has_nulls(array: Any) -> bool:
    """Return whether a column or anything inside it has nulls."""
    if array.null_count:
        return True
    if isinstance(array, pa.StructArray):
        return any(_has_nulls(array.field(number)) for number in range(array.type.num_fields))
    return isinstance(array, pa.ListArray | pa.FixedSizeListArray) and _has_nulls(array.values)


@dataclass(frozen=True)
class _Stamps:
    """What is stored beside an index, to compare without reading."""

    files: dict[str, list[int]] | None
    """Size and time of each file of the data set whose hash last matched."""
    index: list[int] | None
    """State of the index that was last validated."""


def _is_current(path: Path, source: DataSource) -> bool:
    """Return whether an index is valid and was built by this source from the present files."""
    state, beside = _state(path), _read_stamps(path)
    known = state is not None and beside.index == state
    try:
        metadata = map_index(path)[1] if known else _require_sound(path)
    except DatasetError as error:
        _log.warning("%s It is rebuilt.", error.message)
        return False
    if metadata.source != source.name:
        text = "%s was built by the data source %s, not %s. It is rebuilt."
        _log.warning(text, path, metadata.source, source.name)
        return False
    now = _Stamps(_stamps(source), state)
    if beside.files != now.files:
        text = "The files in %s have other times than when they were indexed; comparing contents."
        _log.info(text, source.folder)
        if source.hash_files() != metadata.hashes:
            _log.warning(
                "The files in %s have changed since %s was built. It is rebuilt.", source.folder, path
            )
            return False
    if beside != now:
        _write_stamps(path, now)
    return True


def _stamps(source: DataSource) -> dict[str, list[int]]:
    """Return size and modification time of each file of a data set."""
    stats = {name: path.stat() for name, path in source.files().items()}
    return {name: [stat.st_size, stat.st_mtime_ns] for name, stat in stats.items()}


def _state(path: Path) -> list[int] | None:
    """Return size and times of a file; None if it is so new that it could change and keep its times."""
    stat = path.stat()
    settled = abs(time.time_ns() - stat.st_ctime_ns) > _SETTLED_NS
    return [stat.st_size, stat.st_mtime_ns, stat.st_ctime_ns, stat.st_ino] if settled else None


def _read_stamps(path: Path) -> _Stamps:
    """Return the stamps beside an index, without those that are missing or unreadable."""
    try:
        values = orjson.loads(path.with_suffix(".json").read_bytes())
        return _Stamps(values["files"], values["index"])
    except (OSError, orjson.JSONDecodeError, LookupError, TypeError):
        return _Stamps(None, None)


def _write_stamps(path: Path, stamps: _Stamps) -> None:
    """Write the stamps beside an index if possible."""
    values = orjson.dumps(asdict(stamps))
    try:
        _write_atomically(path.with_suffix(".json"), lambda stream: stream.write(values))
    except OSError:  # in a read-only folder, contents are compared again next time
        _log.debug("Cannot write the times of the files beside %s", path)


def _build(source: DataSource, paths: tuple[Path, ...]) -> Path:
    """Build the index and write it to the first writable path."""
    stamps = _stamps(source)
    with blaming(source, "cannot join its files", _READING_HINT):
        joined = _join_with_progress(source, sum(size for size, _ in stamps.values()))
    with blaming(source, "cannot be indexed", "Compare its `join` with `Joined`."):
        table = assemble(joined, source)
        _require_whole(table, _metadata(table))
    failures = []
    for path in paths:
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            _write_atomically(path, lambda stream: _write_table(stream, table))
        except OSError as error:
            failures.append(f"{path.parent}: {error.strerror or error}")
            _log.info("Cannot write the index to %s (%s).", path.parent, error.strerror or error)
            continue
        _write_stamps(path, _Stamps(stamps, None))
        _log.info("Wrote the index of %d key frames to %s", len(table), path)
        return path
    hint = "Free disk space in one of them, or set XDG_CACHE_HOME to a writable folder."
    raise DatasetError("The index cannot be written anywhere.", first=failures, hint=hint)


def _join_with_progress(source: DataSource, total_bytes: int) -> Joined:
    """Read and join the files of a data set, with a progress bar on a terminal."""
    from rich.console import Console
    from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn

    _log.info("Building the index of %s (%.0f MB of tables; done once)", source.folder, total_bytes / 1e6)
    columns = (
        TextColumn("indexing {task.fields[name]}"),
        BarColumn(),
        DownloadColumn(),
        TimeRemainingColumn(),
    )
    console = Console(file=sys.stderr)
    with Progress(*columns, console=console, disable=not console.is_terminal, transient=True) as progress:
        task = progress.add_task("", total=total_bytes, name=source.title)
        with _no_garbage_collection():
            return source.join(lambda count: progress.advance(task, count))


@contextmanager
def _no_garbage_collection() -> Iterator[None]:
    """Pause garbage collection: records have no cycles, and it would take a third of the time."""
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_enabled:
            gc.enable()


def _write_table(stream: Any, table: pa.Table) -> None:
    """Write an index as one record batch."""
    with pa.ipc.new_file(stream, table.schema) as writer:
        writer.write_table(table, max_chunksize=max(len(table), 1))


def _write_atomically(path: Path, write: Any) -> None:
    """Write under a temporary name and rename: readers see the old file or the new one."""
    handle, name = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
    temporary = Path(name)
    try:
        with os.fdopen(handle, "wb") as stream:
            write(stream)
        put_in_place(temporary, path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


def _cache_folders(folder: Path) -> Iterator[Path]:
    """Yield the cache folders for the index of a read-only folder of tables, in the order to try them.

    A user without a home folder, or with one that cannot be written, has one among the temporary files.
    """
    place = hashlib.blake2b(str(folder.resolve()).encode(), digest_size=8).hexdigest()
    name = Path("occfeat") / f"{folder.name}-{place}"
    chosen = os.environ.get("XDG_CACHE_HOME")
    with suppress(RuntimeError):
        yield Path(chosen or Path.home() / ".cache") / name
    if not chosen:
        yield Path(tempfile.gettempdir()) / f"cache-{os.getuid()}" / name
