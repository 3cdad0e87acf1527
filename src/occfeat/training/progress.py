"""Progress of a training on the terminal."""

import logging
import sys
import time

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

logger = logging.getLogger(__name__)


class TrainingProgress:
    """Shows a progress bar with the time left on a terminal, elsewhere one log line per minute.

    Args:
        steps: Steps of the whole run.
        first_step: Steps that are done already.
        what: Name of what is running, such as `pretrain`.
    """

    def __init__(self, steps: int, first_step: int, what: str) -> None:
        self.steps = steps
        self._first_step = first_step
        self._started = self._told = time.monotonic()
        self._shown = ""
        self._bar: Progress | None = None
        if sys.stderr.isatty():
            columns = (TextColumn(what), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
            self._bar = Progress(*columns, TextColumn("{task.fields[metrics]}"), console=Console(stderr=True))
            self._task = self._bar.add_task(what, total=steps, completed=first_step, metrics="")
            self._bar.start()

    def advance(self, done: int, metrics: str) -> None:
        """Show that `done` steps are done, and metrics that name their step; a log shows these once."""
        if self._bar is not None:
            self._bar.update(self._task, completed=done, metrics=metrics)
        elif time.monotonic() - self._told >= 60 or done == self.steps:
            self._told = time.monotonic()
            rate = (self._told - self._started) / max(done - self._first_step, 1)
            left_min = rate * (self.steps - done) / 60
            news = "" if metrics == self._shown else f"; {metrics}"
            logger.info("step %d/%d, %.1f min left%s", done, self.steps, left_min, news)
            self._shown = metrics

    def close(self) -> None:
        """Restore the terminal."""
        if self._bar is not None:
            self._bar.stop()
