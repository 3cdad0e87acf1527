"""Write recordings as a data set in nuScenes format: in parallel, resumable, the tables last.

A half-written set is finished by the same call: finished scenes are kept, others are written again. The
result is the same to the byte, whatever the number of processes.
"""

import logging
import shutil
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, wait
from contextlib import closing, contextmanager
from dataclasses import dataclass
from multiprocessing.queues import SimpleQueue
from pathlib import Path

import orjson
from rich.progress import Progress

from occfeat.data.formats.nuscenes.writer.scene import SceneWriter, rows_file, rows_folder
from occfeat.data.formats.nuscenes.writer.tables import write_tables
from occfeat.data.formats.nuscenes.writer.values import require_plain_name
from occfeat.data.recordings.recording import Recording
from occfeat.errors import DatasetError, RunError
from occfeat.machine.atomic import lock_folder, write_bytes_atomic
from occfeat.machine.interrupt import sigterm_like_ctrl_c
from occfeat.machine.processes import (
    SPAWN,
    require_helpers,
    start_helpers,
)
from occfeat.machine.processor import usable_cores

logger = logging.getLogger(__name__)

VERSION = "v1.0-imported"
"""Folder of the tables."""
FOLDER = "import"
"""Folder of what is known about the import itself."""
TELL_S = 60
"""Seconds between lines of progress where there is no terminal."""


@dataclass(frozen=True)
class SceneResult:
    """What became of a recording."""

    name: str
    key_frames: int
    left_out: dict[str, int]
    """How often something was left out, by reason."""
    damage: tuple[str, ...]
    """What is damaged, one sentence each; what is there was read."""


def write_recordings(
    root: Path, recordings: Sequence[Recording], *, made_from: bytes, workers: int = 0
) -> list[SceneResult]:
    """Write recordings, or finish a set that was interrupted. A set that is complete is left as it is.

    A recording without a key frame becomes no scene. SIGTERM stops it like Ctrl-C: at once, and its processes
    with it.

    Args:
        root: The data folder: new, empty, or an unfinished set of the same recordings.
        recordings: The scenes, in the order of the tables.
        made_from: Everything the set depends on, in a fixed order. A set made from anything else is refused.
        workers: Number of processes. 0: one per core.

    Returns:
        What became of each recording.

    Raises:
        DatasetError: A recording cannot be read, two have one name, or none has a key frame.
        RunError: The folder holds anything else, cannot be written, or another process writes to it.
        KeyboardInterrupt: After Ctrl-C or SIGTERM; finished scenes stay.
    """
    _check_names(recordings)
    with sigterm_like_ctrl_c():
        if not is_complete(root, made_from):
            with _lock(root):
                if not is_complete(root, made_from):  # another process may have been faster
                    write_bytes_atomic(root / FOLDER / "made_from.json", made_from)
                    _write_missing(root, recordings, workers or usable_cores())
                    _write_tables(root, recordings)
        shutil.rmtree(rows_folder(root, VERSION), ignore_errors=True)  # the lock is in it
    return [_read_result(root, recording.name) for recording in recordings]


def is_complete(root: Path, made_from: bytes) -> bool:
    """Return whether the folder holds the complete set; it must hold nothing else.

    Raises:
        RunError: It holds something else, or cannot be read.
    """
    path, hint = root / FOLDER / "made_from.json", "Choose another folder, or remove this one first."
    try:
        if path.is_file():
            if path.read_bytes() != made_from:
                raise RunError(f"{root} holds an import of other recordings or settings.", hint=hint)
            return (root / VERSION).is_dir()
        if root.exists() and not root.is_dir():
            raise RunError(f"{root} is a file, not a folder.", hint="Choose a new or empty folder.")
        unborn = {rows_folder(root, VERSION).name, FOLDER}
        if root.is_dir() and not {one.name for one in root.iterdir()} <= unborn:
            raise RunError(
                f"{root} is not empty, and is not an import.", hint="Choose a new or empty folder."
            )
    except OSError as error:
        raise RunError(f"The folder {root} cannot be used: {error}.", hint=hint) from error
    return False


def write_scene(recording: Recording, root: Path, tell: Callable[[int], object]) -> None:
    """Write one recording and what became of it.

    Args:
        recording: The recording.
        root: The data folder.
        tell: Called with 1 after each key frame.
    """
    writer = SceneWriter(
        root,
        VERSION,
        recording.name,
        recording.rig,
        log=recording.log,
        description=recording.description,
        has_poses=recording.has_poses,
    )
    with closing(writer):
        key_frames = 0
        for moment in recording.moments():
            if moment.is_key:
                writer.add_key_frame(moment.pose, moment.images, moment.sweeps, moment.boxes)
                key_frames += 1
                tell(1)
                continue
            for channel, sweep in moment.sweeps.items():
                writer.add_sweep(channel, sweep.pose or moment.pose, sweep.points)
        left_out = dict(sorted(recording.left_out.items()))
        result = {"key_frames": key_frames, "left_out": left_out, "damage": recording.damage}
        write_bytes_atomic(_result_file(root, recording.name), orjson.dumps(result))
        if key_frames:
            writer.finish()


def _check_names(recordings: Sequence[Recording]) -> None:
    """Refuse recordings whose names are not unique."""
    counts = Counter(recording.name for recording in recordings)
    if twice := [name for name, count in counts.items() if count > 1]:
        raise DatasetError("Two recordings have one name.", first=twice, hint="Rename one of them.")
    for name in counts:
        require_plain_name("scene", name)


@contextmanager
def _lock(root: Path) -> Iterator[None]:
    """Keep other processes from writing to the folder, which is made if need be."""
    folder = rows_folder(root, VERSION)
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        hint = "Check the folder's permissions, or choose another one."
        raise RunError(f"The folder {root} cannot be created: {error}.", hint=hint) from error
    with lock_folder(folder):
        yield


def _result_file(root: Path, name: str) -> Path:
    """Return the file that says what became of a recording."""
    return root / FOLDER / "scenes" / f"{name}.json"


def _read_result(root: Path, name: str) -> SceneResult:
    """Return what became of a recording."""
    try:
        content = orjson.loads(_result_file(root, name).read_bytes())
        left_out, damage = dict(content["left_out"]), tuple(content["damage"])
        return SceneResult(name, int(content["key_frames"]), left_out, damage)
    except (OSError, ValueError, KeyError, TypeError) as error:
        hint = "Remove the folder and import again."
        raise RunError(f"{_result_file(root, name)} cannot be read: {error}.", hint=hint) from error


def _is_finished(root: Path, recording: Recording) -> bool:
    """Return whether an earlier call finished a recording."""
    return rows_file(root, VERSION, recording.name).is_file()


def _write_tables(root: Path, recordings: Sequence[Recording]) -> None:
    """Write the tables of all scenes that have key frames."""
    scenes = [recording for recording in recordings if _is_finished(root, recording)]
    if not scenes:
        reasons = sum((Counter(_read_result(root, one.name).left_out) for one in recordings), Counter())
        first = [f"{count} x {reason}" for reason, count in reasons.most_common()]
        raise DatasetError("No recording has a key frame.", first=first, hint="Change what leaves them out.")
    splits: dict[str, list[str]] = {}
    for recording in scenes:
        if recording.split is not None:
            splits.setdefault(recording.split, []).append(recording.name)
    write_tables(root, VERSION, [recording.name for recording in scenes], splits)


def _write_missing(root: Path, recordings: Sequence[Recording], workers: int) -> None:
    """Write the scenes that are not finished, and show how far it is."""
    missing = [recording for recording in recordings if not _is_finished(root, recording)]
    if len(missing) < len(recordings):
        logger.info("%d of %d scenes are finished already.", len(recordings) - len(missing), len(recordings))
    total = sum(recording.count for recording in missing)
    with Progress(transient=True) as bar:
        tell = _Teller(bar, total).tell
        if workers == 1 or len(missing) < 2:
            for recording in missing:
                write_scene(recording, root, tell)
        else:
            _write_in_parallel(root, missing, min(workers, len(missing)), tell)


class _Teller:
    """Shows how many key frames are written: a bar on a terminal, else a line per minute.

    Args:
        bar: The bar of the terminal.
        total: Expected number of key frames.
    """

    def __init__(self, bar: Progress, total: int) -> None:
        self._bar, self._total, self._done = bar, total, 0
        self._task = bar.add_task("Writing key frames", total=total)
        self._started = self._told = time.monotonic()

    def tell(self, count: int) -> None:
        """Show that some more key frames are written."""
        self._done += count
        self._bar.update(self._task, completed=self._done)
        now = time.monotonic()
        if not self._bar.console.is_terminal and now - self._told >= TELL_S:
            self._told = now
            left_min = (now - self._started) / self._done * max(0, self._total - self._done) / 60
            logger.info("%d of %d key frames, %.1f min left", self._done, self._total, left_min)


_written: SimpleQueue[int] | None = None
"""Tells the parent of a helper process about written key frames."""


def _listen(queue: "SimpleQueue[int]") -> None:
    """Remember, in a helper process, whom to tell about written key frames."""
    global _written  # a queue reaches a process only while that starts
    _written = queue


def _write_in_helper(recording: Recording, root: Path) -> None:
    """Write one recording in a helper process."""
    write_scene(recording, root, (lambda _: None) if _written is None else _written.put)


def _write_in_parallel(
    root: Path, recordings: Sequence[Recording], workers: int, tell: Callable[[int], object]
) -> None:
    """Write recordings in processes of their own."""
    require_helpers()
    queue: SimpleQueue[int] = SPAWN.SimpleQueue()
    with start_helpers(workers, _listen, queue) as pool:
        pending: set[Future[None]] = {pool.submit(_write_in_helper, one, root) for one in recordings}
        while pending:
            done, pending = wait(pending, timeout=0.2, return_when="FIRST_COMPLETED")
            while not queue.empty():
                tell(queue.get())
            for future in done:
                future.result()
