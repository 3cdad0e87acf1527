"""Settings files: plain YAML, read in bounded time and memory. Imports no torch."""

from pathlib import Path
from typing import Any

import yaml
from yaml.constructor import ConstructorError

from occfeat.errors import SettingsError

MAX_BYTES = 100_000
"""Larger files are refused; complete settings take 3 000 bytes."""

LARGEST_NUMBER = 2**63
"""Larger integers are refused."""


class _Loader(yaml.SafeLoader):
    """Loads plain values and refuses aliases: a few lines of them can stand for more than memory holds."""

    def compose_node(self, parent: yaml.Node | None, index: Any) -> yaml.Node | None:
        """Return a value; refuse an alias."""
        if self.check_event(yaml.AliasEvent):
            mark = self.peek_event().start_mark  # type: ignore[no-untyped-call]
            raise ConstructorError(None, None, "aliases are not read; write the value out", mark)
        return super().compose_node(parent, index)

    def construct_yaml_int(self, node: yaml.ScalarNode) -> int:
        """Return an integer; refuse one that other programs cannot hold."""
        number = int(super().construct_yaml_int(node))
        if abs(number) >= LARGEST_NUMBER:
            raise ConstructorError(None, None, "the number is too large", node.start_mark)
        return number


_Loader.add_constructor("tag:yaml.org,2002:int", _Loader.construct_yaml_int)


def read_yaml(path: Path) -> Any:
    """Return the plain values of a settings file.

    Raises:
        SettingsError: The file cannot be read, is too large, is not YAML, or holds more than plain values.
    """
    try:
        with path.open("rb") as file:
            content = file.read(MAX_BYTES + 1)
    except FileNotFoundError as error:
        raise SettingsError(f"The settings file {path} does not exist.", hint="Check the path.") from error
    except OSError as error:
        what = f"The settings file {path} cannot be read: {error.strerror or error}."
        raise SettingsError(what, hint="Check the path.") from error
    if len(content) > MAX_BYTES:
        raise SettingsError(
            f"The settings file {path} has more than {MAX_BYTES:,} bytes.", hint="Check the path."
        )
    try:
        return yaml.load(content.decode(), Loader=_Loader)
    except Exception as error:  # impossible dates, numbers and keys end PyYAML with many kinds of exceptions
        raise SettingsError(f"The settings file {path} cannot be read: {error}") from error
