"""Where figures go: `metrics.jsonl` always, TensorBoard and others, a progress bar or log lines."""

import json
import logging
import math
import os
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from occfeat.config import LoggerName
from occfeat.engine.figure_loggers import FigureLogger, open_loggers

logger = logging.getLogger(__name__)


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
        self._file = file.open("ab") if file else None
        self._loggers = open_loggers(loggers, file.parent, step) if file else []
        if self._file is not None:
            self._file.truncate(keep_bytes)

    @property
    def size_bytes(self) -> int:
        """Size of the JSONL file."""
        return os.fstat(self._file.fileno()).st_size if self._file else 0

    def write(self, step: int, figures: dict[str, float]) -> None:
        """Add one row; a figure that is not finite is written as null."""
        if self._file is None:
            return
        row: dict[str, float | int | None] = {"step": step}
        row |= {name: value if math.isfinite(value) else None for name, value in figures.items()}
        self._file.write(json.dumps(row).encode() + b"\n")
        self._file.flush()
        self._on_loggers(lambda one: one.write(step, figures))

    def close(self) -> None:
        """Write out what is pending."""
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


def read_rows(file: Path) -> list[dict[str, float | int | None]]:
    """All rows of a `metrics.jsonl`."""
    return [json.loads(line) for line in file.read_text().splitlines()]


def last_row(file: Path) -> dict[str, float]:
    """Figures of the last steps, without the step, the times and the learning rate; {} if there are none."""
    rows = read_rows(file) if file.exists() else []
    left_out = ("step", "learning_rate", "time/")
    figures = rows[-1].items() if rows else ()
    return {
        name: float("nan") if value is None else value
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
