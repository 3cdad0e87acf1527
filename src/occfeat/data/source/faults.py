"""Faults of a data set that stop nothing: each is noted, and makes at most its own key frame unreadable."""

from dataclasses import dataclass, field

MAX_FAULTS = 50
"""Faults of one key frame, and examples of a kind, that are kept: a set whose every record dangles must not
fill the memory."""


@dataclass(frozen=True)
class Fault:
    """Something wrong in the tables."""

    kind: str
    """Sort of problem, such as `dangling token`."""
    message: str
    """Table, token and what is wrong."""


@dataclass
class Faults:
    """Faults by the row of their key frame, and those that belong to none."""

    of_row: dict[int, list[Fault]] = field(default_factory=dict)
    loose_count: dict[str, int] = field(default_factory=dict)
    loose_first: dict[str, list[str]] = field(default_factory=dict)

    def add(self, row: int, fault: Fault) -> None:
        """Note a fault of a key frame; a row below 0 means none."""
        if row >= 0:
            known = self.of_row.setdefault(row, [])
            if len(known) < MAX_FAULTS:
                known.append(fault)
            return
        self.loose_count[fault.kind] = self.loose_count.get(fault.kind, 0) + 1
        examples = self.loose_first.setdefault(fault.kind, [])
        if len(examples) < MAX_FAULTS:
            examples.append(fault.message)
