"""Error messages about settings: one line per wrong setting. Imports no torch."""

from collections.abc import Callable, Iterable, Mapping
from typing import Any

from pydantic import ValidationError

from occfeat.errors import SettingsError, closest
from occfeat.settings.removed import RENAMED, why_removed
from occfeat.settings.strict import Strict
from occfeat.settings.students import KINDS, STUDENTS

UNUSABLE, SEE_HELP = "These settings cannot be used:", "See --help-all for all settings."
ABBREVIATIONS = {"lr": "learning_rate"}
"""Common names for settings that are spelled differently here, and the names here."""


def explain(
    kind: type[Strict],
    error: ValidationError,
    prefix: tuple[str, ...] = (),
    *,
    message: str = UNUSABLE,
    hint: str = SEE_HELP,
    show: Callable[[str], str] = str,
) -> SettingsError:
    """Return an error with one line per wrong setting, and the name that was probably meant.

    Args:
        kind: Class of the settings that could not be built.
        error: The error of pydantic.
        prefix: Section of `kind` that the error is about; empty for all of them.
        message: The first line.
        hint: What to do next.
        show: Formats the name of a setting.
    """
    lines = [_line(kind, problem, prefix, show) for problem in error.errors()]
    return SettingsError(message, first=lines, hint=hint)


def explain_flags(kind: type[Strict], error: ValidationError) -> SettingsError:
    """Return an error as `explain` does, but with settings written as flags."""
    section = "student" if error.title in {student.__name__ for student in STUDENTS.values()} else None
    for name, settings in _sections(kind).items():
        section = name if settings.__name__ == error.title else section
    return explain(kind, error, () if section is None else (section,), show=_flag)


def _flag(name: str) -> str:
    """Return the flag of a setting, or of one of its values, such as `view.image_size.0`."""
    parts = name.replace("_", "-").split(".")
    return "--" + ".".join(part for part in parts if not part.isdigit())


def _line(
    kind: type[Strict], problem: Mapping[str, Any], prefix: tuple[str, ...], show: Callable[[str], str]
) -> str:
    """Return what is wrong with one setting."""
    path = (*prefix, *(str(part) for part in problem["loc"]))
    student = path[1] if len(path) > 1 and path[0] == "student" else None
    if student in STUDENTS:  # the member of the union is not part of the name
        path = ("student", *path[2:])
    name = ".".join(path)
    if problem["type"] == "extra_forbidden":
        return unknown_setting(kind, path, student)
    if problem["type"] == "missing":
        return f"Missing setting: {name}"
    if problem["type"] == "unknown_student":
        return f"{show('student.kind')}: {problem['msg']}{_no_student(problem['input'])}"
    said = problem["msg"].removeprefix("Value error, ")
    if isinstance(problem["input"], dict | Strict):  # several settings conflict; the text names them
        return f"{name}: {said}" if name else said
    return f"{show(name)}: {said} (got {problem['input']!r}{_share(name, problem['input'])})"


def _no_student(given: object) -> str:
    """Return the kind of student that was given, and the kind that was probably meant."""
    kind = given.get("kind") if isinstance(given, dict) else given
    return f" (got {kind!r}{_meant(str(kind), KINDS)})"


def _share(name: str, given: object) -> str:
    """Return the fraction that a percentage stands for, if one was given."""
    if name != "label_fraction" or not isinstance(given, int | float) or not 1 < given <= 100:
        return ""
    return f"; {given:g} % is {given / 100:g}"


def _meant(name: str, names: Iterable[str]) -> str:
    """Return a question that names what was probably meant, or an empty string."""
    close = closest(name, names)
    return f"; did you mean {close}?" if close else ""


def owners(name: str) -> list[str]:
    """Return the kinds of students that have a setting of this name."""
    return [kind for kind, settings in STUDENTS.items() if name in settings.model_fields]


def unknown_setting(kind: type[Strict], path: tuple[str, ...], student: str | None) -> str:
    """Return a line about an unknown setting: what was probably meant, or why it was removed.

    Args:
        kind: Settings of the command.
        path: Names of the sections and of the setting.
        student: Kind of the student, for a setting of a student.
    """
    name, last = ".".join(path), ABBREVIATIONS.get(path[-1], path[-1])
    if name in RENAMED:
        return f"Renamed setting: {name} ({why_removed(name)})"
    if reason := why_removed(name):
        return f"Removed setting: {name} ({reason}; leave it out)"
    if student is not None and (others := owners(last)):
        return f"{name} is a setting of {', '.join(others)}, but this student is {student}"
    elsewhere = [f"{section}.{last}" for section, of in _sections(kind).items() if last in of.model_fields]
    if "student" in kind.model_fields and owners(last):
        elsewhere.append(f"student.{last}")
    close = " or ".join(elsewhere) or closest(last, _names_beside(kind, path, student))
    return f"Unknown setting: {name}" + (f" (did you mean {close}?)" if close else "")


def _sections(kind: type[Strict]) -> dict[str, type[Strict]]:
    """Return the sections of settings except the student, which is of several kinds."""
    annotations = {name: field.annotation for name, field in kind.model_fields.items()}
    return {
        name: section
        for name, section in annotations.items()
        if isinstance(section, type) and issubclass(section, Strict)
    }


def _names_beside(kind: type[Strict], path: tuple[str, ...], student: str | None) -> list[str]:
    """Return the names of all settings in the section of a path."""
    fields = kind.model_fields
    for name in path[:-1]:
        section = fields[name].annotation if name in fields else None
        if name == "student" and student in STUDENTS:
            section = STUDENTS[student]
        if not (isinstance(section, type) and issubclass(section, Strict)):
            return []
        fields = section.model_fields
    return list(fields)
