"""Writes the tables of commands, recipes and settings that the command line page includes.

Run by every build of the documentation. By hand: `python docs/list_settings.py FOLDER`.
"""

import sys
from pathlib import Path

from pydantic.fields import FieldInfo

from occfeat.cli import COMMANDS
from occfeat.config import Strict
from occfeat.recipes import RECIPES


def section_of(field: FieldInfo) -> type[Strict] | None:
    """The settings class a field holds, if it holds one."""
    kind = field.annotation
    return kind if isinstance(kind, type) and issubclass(kind, Strict) else None


def default_of(field: FieldInfo) -> str:
    """A default as it is typed on the command line."""
    if field.is_required():
        return "required"
    value = field.default
    if isinstance(value, tuple):
        return " ".join(map(str, value)) or "(none)"
    return str(value)


def one_line(text: str | None) -> str:
    """Text without line breaks."""
    return " ".join((text or "").split())


def rows(model: type[Strict], prefix: str = "") -> list[str]:
    """Table rows of the settings of a class, without its sections."""
    return [
        f"| `--{prefix}{name.replace('_', '-')}` | {default_of(field)} | {one_line(field.description)} |"
        for name, field in model.model_fields.items()
        if section_of(field) is None
    ]


def table(lines: list[str]) -> list[str]:
    """A Markdown table of settings."""
    return ["| flag | default | meaning |", "|---|---|---|", *lines, ""]


def commands() -> list[str]:
    """Every command with its own flags and the names of its sections."""
    lines = []
    for name, command in COMMANDS.items():
        fields = command.settings.model_fields.items()
        sections = [f"`{key}`" for key, field in fields if section_of(field) is not None]
        lines += [f"### `occfeat {name}`", "", command.summary, ""]
        lines += table(rows(command.settings)) if rows(command.settings) else []
        lines += [f"Sections: {', '.join(sections)}.", ""] if sections else []
    return lines


def sections() -> list[str]:
    """Every section of settings once, in the order in which the commands use them."""
    found = {}
    for command in COMMANDS.values():
        for name, field in command.settings.model_fields.items():
            if (section := section_of(field)) is not None:
                found.setdefault(name, section)
    lines = []
    for name, section in found.items():
        lines += [f"### `--{name}.…`", "", (section.__doc__ or "").strip(), ""]
        lines += table(rows(section, f"{name}."))
    return lines


def recipes() -> list[str]:
    """Every recipe with its documentation."""
    return [f"`{name}`\n: {one_line(make.__doc__)}\n" for name, make in RECIPES.items()]


def main(folder: Path) -> None:
    """Write the tables as Markdown files."""
    folder.mkdir(parents=True, exist_ok=True)
    for make in (commands, sections, recipes):
        (folder / f"{make.__name__}.md").write_text("\n".join(make()) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
