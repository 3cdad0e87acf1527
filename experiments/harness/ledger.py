"""Ledgers: a file with a row of JSON per finished job and its metrics, which several processes can extend."""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any, Generic, TypeVar

from filelock import FileLock

from occfeat.machine.atomic import write_text_atomic

LEDGERS = Path(__file__).parents[1] / "ledgers"
"""Folder of all ledgers."""
Job = TypeVar("Job")
"""A frozen dataclass of texts, numbers and flags."""
Metrics = dict[str, float]
"""Values by name; IoUs from 0 to 1."""


@dataclass(frozen=True)
class Ledger(Generic[Job]):
    """The rows of an experiment."""

    file: Path
    job: type[Job]

    def read(self) -> dict[Job, Metrics]:
        """Return the metrics of every job that has a row; none if there is no such file."""
        lines = self.file.read_text(encoding="utf-8").splitlines() if self.file.is_file() else []
        return dict(self._entry(json.loads(line)) for line in lines)

    def add(self, rows: Mapping[Job, Metrics], locks: Path) -> None:
        """Add rows, or replace those of the same jobs; metrics are rounded to five digits.

        Args:
            rows: Metrics by job.
            locks: Folder of the lock that the processes share.
        """
        locks.mkdir(parents=True, exist_ok=True)
        with FileLock(locks / "ledger"):
            lines = [self._line(job, metrics) for job, metrics in {**self.read(), **rows}.items()]
            write_text_atomic(self.file, "".join(lines))

    def _entry(self, row: dict[str, Any]) -> tuple[Job, Metrics]:
        """Return the job and the metrics of a row."""
        job = self.job(**{field.name: row.pop(field.name) for field in fields(self.job)})
        return job, row

    def _line(self, job: Job, metrics: Metrics) -> str:
        """Return the row of a job."""
        rounded = {name: round(value, 5) for name, value in metrics.items()}
        return json.dumps({**asdict(job), **rounded}) + "\n"
