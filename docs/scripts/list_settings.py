"""Writes the tables of commands, recipes and settings that the command line page includes.

Run by every build of the documentation. By hand: `python docs/scripts/list_settings.py FOLDER`.
"""

import sys
from pathlib import Path

from pydantic.fields import FieldInfo

from occfeat.commands.table import COMMANDS
from occfeat.settings.recipes import OBJECTIVES, RECIPES
from occfeat.settings.strict import EXPERT, Strict
from occfeat.settings.students import STUDENTS, ImageStudentConfig


def sections_of(field: FieldInfo) -> list[type[Strict]]:
    """The settings classes a field can hold: none, one, or one of each kind of student."""
    if isinstance(field.default, ImageStudentConfig):
        return [kind for kind in STUDENTS.values() if issubclass(kind, ImageStudentConfig)]
    kind = field.annotation
    return [kind] if isinstance(kind, type) and issubclass(kind, Strict) else []


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


def expert(field: FieldInfo) -> str:
    """Return a note behind an expert setting."""
    return " *(`--help-all`)*" if EXPERT in field.metadata else ""


def rows(model: type[Strict], prefix: str = "") -> list[str]:
    """Table rows of the settings of a class, without its sections."""
    return [
        f"| `--{prefix}{name.replace('_', '-')}` | {default_of(field)} "
        f"| {one_line(field.description)}{expert(field)} |"
        for name, field in model.model_fields.items()
        if not sections_of(field)
    ]


def table(lines: list[str]) -> list[str]:
    """A Markdown table of settings."""
    return ["| flag | default | meaning |", "|---|---|---|", *lines, ""]


def commands() -> list[str]:
    """Every command with its own flags and the names of its sections."""
    lines = []
    for name, command in COMMANDS.items():
        fields = command.settings.model_fields.items()
        sections = [f"`{key}`" for key, field in fields if sections_of(field)]
        lines += [f"### `occfeat {name}`", "", command.summary, ""]
        lines += table(rows(command.settings)) if rows(command.settings) else []
        lines += [f"Sections: {', '.join(sections)}.", ""] if sections else []
    return lines


def sections() -> list[str]:
    """Every section of settings once, in the order in which the commands use them."""
    found: dict[str, list[type[Strict]]] = {}
    for command in COMMANDS.values():
        for name, field in command.settings.model_fields.items():
            found.setdefault(name, sections_of(field))
    lines = []
    for name, kinds in found.items():
        for section in kinds:
            said = f" of `{section.model_fields['kind'].default}`" if len(kinds) > 1 else ""
            lines += [f"### `--{name}.…`{said}", "", (section.__doc__ or "").strip(), ""]
            lines += table(rows(section, f"{name}."))
    return lines


def recipes() -> list[str]:
    """Every recipe with its documentation, then the objectives."""
    lines = [f"`{name}`\n: {one_line(make.__doc__)}\n" for name, make in RECIPES.items()]
    for name, loss in OBJECTIVES.items():
        weights = ", ".join(
            f"`loss.{part}` {value:g}"
            for part, value in loss.model_dump(exclude_unset=False).items()
            if part in ("occupancy", "features", "queries")
        )
        lines.append(f"`…+{name}`\n: Any of these, with the weights {weights}.\n")
    return lines


def main(folder: Path) -> None:
    """Write the tables as Markdown files."""
    folder.mkdir(parents=True, exist_ok=True)
    for make in (commands, sections, recipes):
        (folder / f"{make.__name__}.md").write_text("\n".join(make()) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
