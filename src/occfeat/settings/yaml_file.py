"""Settings files: plain YAML, read in bounded time and memory. Imports no torch."""

from pathlib import Path
from typing import Any

import yaml
from yaml.constructor import ConstructorError

from occfeat.errors import SettingsError

MAX_BYTES = 100_000
"""Largest size of a settings file; complete settings take 3 000 bytes."""

LARGEST_NUMBER = 2**63
"""Bound of integers, exclusive."""


class _Loader(yaml.SafeLoader):
    """Loads plain values; refuses aliases, a few of which can expand beyond memory, and names given twice."""

    def compose_node(self, parent: yaml.Node | None, index: Any) -> yaml.Node | None:
        """Return a value; refuse an alias."""
        if self.check_event(yaml.AliasEvent):
            mark = self.peek_event().start_mark  # type: ignore[no-untyped-call]
            raise ConstructorError(None, None, "expected a plain value, got an alias", mark)
        return super().compose_node(parent, index)

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        """Return named values; refuse a name that is given twice."""
        seen: set[str] = set()
        for key, _ in node.value:
            if isinstance(key, yaml.ScalarNode) and key.value in seen:
                raise ConstructorError(None, None, f"{key.value!r} is given twice", key.start_mark)
            seen.add(str(key.value))
        return super().construct_mapping(node, deep)

    def construct_yaml_int(self, node: yaml.ScalarNode) -> int:
        """Return an integer; refuse one that does not fit 64 bits, and YAML's octal and sexagesimal ones."""
        digits = node.value.lstrip("+-")
        if ":" in digits or (len(digits) > 1 and digits[0] == "0" and digits[1:].isdigit()):
            what = f"{node.value} is not a decimal number; leave out zeros in front, and put texts in quotes"
            raise ConstructorError(None, None, what, node.start_mark)
        number = int(super().construct_yaml_int(node))
        if abs(number) >= LARGEST_NUMBER:
            raise ConstructorError(None, None, "the number is too large", node.start_mark)
        return number

    def construct_yaml_float(self, node: yaml.ScalarNode) -> float:
        """Return a number; refuse YAML's sexagesimal ones, such as 1:30.5."""
        if ":" in node.value:
            what = f"{node.value} is not a decimal number; put texts in quotes"
            raise ConstructorError(None, None, what, node.start_mark)
        return float(super().construct_yaml_float(node))


_Loader.add_constructor("tag:yaml.org,2002:int", _Loader.construct_yaml_int)
_Loader.add_constructor("tag:yaml.org,2002:float", _Loader.construct_yaml_float)


def read_yaml(path: Path, what: str = "settings file") -> Any:
    """Return the plain values of a settings file.

    Args:
        path: The file.
        what: Kind of file, for messages.

    Raises:
        SettingsError: The file cannot be read, is too large, is not YAML, or contains more than plain values.
    """
    try:
        with path.open("rb") as file:
            content = file.read(MAX_BYTES + 1)
    except FileNotFoundError as error:
        raise SettingsError(f"The {what} {path} does not exist.", hint="Check the path.") from error
    except OSError as error:
        what = f"The {what} {path} cannot be read: {error.strerror or error}."
        raise SettingsError(what, hint="Check the path.") from error
    if len(content) > MAX_BYTES:
        raise SettingsError(
            f"Expected at most {MAX_BYTES:,} bytes in {path}, got more.", hint="Check the path."
        )
    try:
        return yaml.load(content.decode(), Loader=_Loader)
    except UnicodeDecodeError as error:
        what = f"The {what} {path} is not text in UTF-8: byte {error.start} cannot be read."
        raise SettingsError(what, hint="Save it as UTF-8.") from error
    except Exception as error:  # PyYAML raises all kinds for impossible values
        raise SettingsError(f"The {what} {path} cannot be read: {error}") from error
