"""Faults of a data set that do not stop its reading; each makes at most one key frame unreadable."""

from dataclasses import dataclass, field

MAX_FAULTS = 50
"""Largest number of faults per key frame, and of examples per kind, which bounds memory if every record
dangles."""


@dataclass(frozen=True)
class Fault:
    """One fault in the tables."""

    kind: str
    """Kind of problem, such as `dangling token`."""
    message: str
    """Table, token and description."""


LEFT_OUT = "box left out"
"""Kind of a fault that costs one box alone."""


def left_out(fault: Fault) -> Fault:
    """Return the fault of a box that is left out, which does not make its key frame unreadable."""
    return Fault(LEFT_OUT, fault.message)


@dataclass
class Faults:
    """Faults by the row of their key frame, and faults without a key frame."""

    of_row: dict[int, list[Fault]] = field(default_factory=dict)
    loose_count: dict[str, int] = field(default_factory=dict)
    loose_first: dict[str, list[str]] = field(default_factory=dict)

    def add(self, row: int, fault: Fault) -> None:
        """Add a fault of a key frame; a negative row means none."""
        if row >= 0:
            known = self.of_row.setdefault(row, [])
            if len(known) < MAX_FAULTS:
                known.append(fault)
            return
        self.loose_count[fault.kind] = self.loose_count.get(fault.kind, 0) + 1
        examples = self.loose_first.setdefault(fault.kind, [])
        if len(examples) < MAX_FAULTS:
            examples.append(fault.message)
