"""Cost of a program: seconds of each stage, and peak memory including child processes."""

import json
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil

from occfeat.errors import RunError
from occfeat.machine.atomic import write_text_atomic

INTERVAL_S = 5.0
"""Time between two measurements of memory; one stops allocations for some 20 ms per gigabyte."""


class Footprint:
    """Measures while it is open, and adds to the measurements in the file.

    Memory is that of this process and all its children, measured every five seconds. Pages that processes
    share count once on Linux. Elsewhere they count in each process, so that the sum is an upper bound.

    Args:
        file: JSON file with `seconds` by stage and `peak_memory_mb`.

    Raises:
        RunError: The file is damaged.
    """

    def __init__(self, file: Path) -> None:
        self._file = file
        self.seconds: dict[str, float] = {}
        self.peak_memory_mb = 0.0
        self._closed = threading.Event()
        self._watcher = threading.Thread(target=self._watch, name="footprint", daemon=True)
        if file.is_file():
            self._read()

    def __enter__(self) -> "Footprint":
        self._watcher.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._closed.set()
        self._watcher.join()
        self._write()

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """Add the time of a block to that of a stage, whatever ends it."""
        start = time.monotonic()
        try:
            yield
        finally:
            self.seconds[name] = round(self.seconds.get(name, 0.0) + time.monotonic() - start, 1)
            self._write()

    def _watch(self) -> None:
        """Measure memory until the footprint is closed."""
        this = psutil.Process()
        closed = False
        while not closed:  # the last measurement is at the end, so that a short stage has one
            closed = self._closed.wait(INTERVAL_S)
            self.peak_memory_mb = max(self.peak_memory_mb, round(_memory_mb(this)))

    def _read(self) -> None:
        """Read what was measured before."""
        try:
            content = json.loads(self._file.read_text(encoding="utf-8"))
            self.seconds = {str(name): float(value) for name, value in content["seconds"].items()}
            self.peak_memory_mb = float(content["peak_memory_mb"])
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise RunError(
                f"{self._file} is damaged.", hint="Delete it: only times and peak memory are lost."
            ) from error

    def _write(self) -> None:
        """Write what is measured so far."""
        content = {"seconds": self.seconds, "peak_memory_mb": self.peak_memory_mb}
        write_text_atomic(self._file, json.dumps(content, indent=2) + "\n")


def _memory_mb(process: psutil.Process) -> float:
    """Return the memory of a process and its children, in megabytes."""
    total = 0
    for one in (process, *process.children(recursive=True)):
        try:
            total += one.memory_full_info().pss if psutil.LINUX else one.memory_info().rss
        except psutil.Error:  # it has just ended
            continue
    return total / 1e6
