"""Settings that were removed are not there any more, in any command."""

from collections.abc import Iterator
from typing import Any, get_args

from occfeat.commands.table import COMMANDS
from occfeat.settings.removed import REMOVED, RENAMED
from occfeat.settings.strict import Strict


def _sections(annotation: Any) -> Iterator[type[Strict]]:
    """Kinds of a section; none of a setting."""
    if isinstance(annotation, type) and issubclass(annotation, Strict):
        yield annotation
    for one in get_args(annotation):
        yield from _sections(one)


def _names(kind: type[Strict], prefix: str = "") -> Iterator[str]:
    """Full names of all settings, as on the command line."""
    for name, field in kind.model_fields.items():
        yield f"{prefix}{name}"
        for section in _sections(field.annotation):
            yield from _names(section, f"{prefix}{name}.")


def test_removed__no_command_has_such_a_setting() -> None:
    names = {name for command in COMMANDS.values() for name in _names(command.settings)}
    assert {"shard_size", "engine.max_broken", "student.backbone"} <= names
    assert names & {*REMOVED, *RENAMED} == set()
