"""The rows of a self-test, as a table and as JSON."""

import json
import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass


@dataclass(frozen=True)
class Row:
    """One measurement, and the limit that it must keep."""

    what: str
    value: float
    unit: str = ""
    """Unit of the value; empty for a share or a count."""
    limit: float | int | None = None
    """Largest value that is right. None: no limit."""

    @property
    def is_right(self) -> bool:
        """Whether the value is finite and within its limit."""
        return math.isfinite(self.value) and (self.limit is None or self.value <= self.limit)

    def __str__(self) -> str:
        verdict = (
            "" if self.limit is None else f"  {'ok' if self.is_right else 'WRONG'} (limit {self.limit:g})"
        )
        return f"{self.what:<58} {self.value:>10.4g} {self.unit:<14}{verdict}".rstrip()


def as_table(rows: Sequence[Row]) -> str:
    """Return one line per row, and the verdict."""
    wrong = [row for row in rows if not row.is_right]
    verdict = f"{len(wrong)} of {len(rows)} lines are WRONG." if wrong else "Everything is right."
    return "\n".join((*map(str, rows), verdict))


def as_json(about: dict[str, str], rows: Sequence[Row]) -> str:
    """Return the rows, and what they were measured on."""
    measured = [{**asdict(row), "is_right": row.is_right} for row in rows]
    return json.dumps({"about": about, "rows": measured}, indent=2) + "\n"
