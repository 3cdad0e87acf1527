"""Faults of a data set that do not stop its reading: each costs at most one key frame or one image."""

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
    """Faults by the row of their key frame, faults of single images, and faults without a key frame."""

    of_row: dict[int, list[Fault]] = field(default_factory=dict)
    of_image: dict[tuple[int, int], Fault] = field(default_factory=dict)
    """By key frame and index into `Joined.channels`; the key frame is used without this camera."""
    loose_count: dict[str, int] = field(default_factory=dict)
    loose_first: dict[str, list[str]] = field(default_factory=dict)

    def add(self, row: int, fault: Fault) -> None:
        """Add a fault of a key frame; a negative row means none."""
        if row >= 0:
            known = self.of_row.setdefault(row, [])
            if len(known) < MAX_FAULTS:
                known.append(fault)
            return
        self._add_loose(fault)

    def add_image(self, row: int, channel: int, fault: Fault) -> None:
        """Add a fault of the image of a camera, unless there is one; a negative row means no key frame."""
        if row >= 0:
            self.of_image.setdefault((row, channel), fault)
        else:
            self._add_loose(fault)

    def _add_loose(self, fault: Fault) -> None:
        """Count a fault without a key frame."""
        self.loose_count[fault.kind] = self.loose_count.get(fault.kind, 0) + 1
        examples = self.loose_first.setdefault(fault.kind, [])
        if len(examples) < MAX_FAULTS:
            examples.append(fault.message)
