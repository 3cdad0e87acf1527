"""Where figures go: `metrics.jsonl` always, TensorBoard and others, a progress bar or log lines."""

import errno
import json
import logging
import math
import os
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from io import FileIO
from pathlib import Path
from types import NoneType

import orjson
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from occfeat.errors import RunError
from occfeat.runs.loggers import FigureLogger, open_loggers
from occfeat.settings.sections import LoggerName

logger = logging.getLogger(__name__)

_RESTORE = "Restore it from a copy, or start the run anew in another folder."


class MetricsLog:
    """Appends rows of figures to `metrics.jsonl`, and to loggers of figures.

    A logger that fails is left behind with a warning: training goes on, and the file has everything.

    Args:
        file: The JSONL file. None writes nothing: only the first of several processes writes.
        keep_bytes: On resuming: size the file had at the checkpoint; what came later is cut off.
        step: Step the run goes on from.
        loggers: Where rows go beside the file. None: to TensorBoard, if it is installed.
    """

    def __init__(
        self,
        file: Path | None,
        *,
        keep_bytes: int = 0,
        step: int = 0,
        loggers: Sequence[LoggerName] | None = None,
    ) -> None:
        self._file = _open_at(file, keep_bytes) if file else None
        self._loggers = open_loggers(loggers, file.parent, step) if file else []

    def sync(self) -> int:
        """Force all rows to disk, before a checkpoint tells of them; gives the size in bytes."""
        if self._file is None:
            return 0
        with _as_run_error(Path(self._file.name)):
            os.fsync(self._file.fileno())
            return os.fstat(self._file.fileno()).st_size

    def write(self, step: int, figures: dict[str, float]) -> None:
        """Add one row; a figure that is not finite is written as null.

        Raises:
            RunError: The disk is full, say.
        """
        if self._file is None:
            return
        row: dict[str, float | int | None] = {"step": step}
        row |= {name: value if math.isfinite(value) else None for name, value in figures.items()}
        line = json.dumps(row).encode() + b"\n"
        with _as_run_error(Path(self._file.name)):
            if self._file.write(line) < len(line):
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        self._on_loggers(lambda one: one.write(step, figures))

    def close(self) -> None:
        """Let go of the files."""
        if self._file is not None:
            self._file.close()
        self._on_loggers(lambda one: one.close())

    def _on_loggers(self, do: Callable[[FigureLogger], None]) -> None:
        for one in tuple(self._loggers):
            try:
                do(one)
            except Exception as error:  # of other packages, and of networks between here and a server
                logger.warning("%s gets no more figures: %s", type(one).__name__, error)
                self._loggers.remove(one)


def _open_at(file: Path, keep_bytes: int) -> FileIO:
    """A JSONL file of which only the first bytes are kept, open for appending, without a buffer to lose."""
    with _as_run_error(file):
        size = file.stat().st_size if file.exists() else 0
        if size < keep_bytes:
            message = f"{file} has {size} bytes, fewer than the {keep_bytes} it had at the last checkpoint."
            raise RunError(message, hint=_RESTORE)
        opened = FileIO(file, "ab")
        opened.truncate(keep_bytes)
        return opened


@contextmanager
def _as_run_error(file: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        hint = "Free some disk space or check the rights of the folder, then use --resume."
        raise RunError(f"{file} could not be written: {error.strerror}", hint=hint) from error


def read_rows(file: Path) -> list[dict[str, float | int | None]]:
    """All rows of a `metrics.jsonl`.

    Raises:
        RunError: A line is no row, or the file cannot be read.
    """
    rows = []
    try:
        for number, line in enumerate(file.read_bytes().splitlines(), start=1):
            rows.append(row := orjson.loads(line))
            if not isinstance(row, dict) or not set(map(type, row.values())) <= {int, float, NoneType}:
                raise RunError(f"Line {number} of {file} is no row of figures.", hint=_RESTORE)
    except (OSError, orjson.JSONDecodeError) as error:
        raise RunError(f"{file} is damaged behind line {len(rows)}: {error}", hint=_RESTORE) from error
    return rows


def last_row(file: Path) -> dict[str, float]:
    """Figures of the last steps, without the step, the times and the learning rate; {} if there are none."""
    rows = read_rows(file) if file.exists() else []
    left_out = ("step", "learning_rate", "time/")
    figures = rows[-1].items() if rows else ()
    return {
        name: float("nan") if value is None else float(value)
        for name, value in figures
        if not name.startswith(left_out)
    }


class TrainingProgress:
    """A progress bar with the time left on a terminal; elsewhere one log line per minute.

    Args:
        steps: Steps of the whole run.
        first_step: Steps already done.
        what: What is going on, such as `pretrain`.
    """

    def __init__(self, steps: int, first_step: int, what: str) -> None:
        self.steps = steps
        self._first_step = first_step
        self._started = self._told = time.monotonic()
        self._bar: Progress | None = None
        if sys.stderr.isatty():
            columns = (TextColumn(what), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
            self._bar = Progress(*columns, TextColumn("{task.fields[figures]}"), console=Console(stderr=True))
            self._task = self._bar.add_task(what, total=steps, completed=first_step, figures="")
            self._bar.start()

    def advance(self, done: int, figures: str) -> None:
        """Show that `done` steps are done."""
        if self._bar is not None:
            self._bar.update(self._task, completed=done, figures=figures)
        elif time.monotonic() - self._told >= 60 or done == self.steps:
            self._told = time.monotonic()
            rate = (self._told - self._started) / max(done - self._first_step, 1)
            left_min = rate * (self.steps - done) / 60
            logger.info("step %d/%d, %.1f min left, %s", done, self.steps, left_min, figures)

    def close(self) -> None:
        """Leave the terminal as it was."""
        if self._bar is not None:
            self._bar.stop()
