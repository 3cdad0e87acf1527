"""Layers of settings: recipe, then settings file, then flags or keyword arguments.

This module imports no torch.
"""

from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Annotated, Any, TypeVar

from pydantic import TypeAdapter, ValidationError

from occfeat.errors import SettingsError, closest
from occfeat.settings.strict import Strict
from occfeat.settings.students import KINDS, STUDENTS
from occfeat.settings.yaml_file import read_yaml

Config = TypeVar("Config", bound=Strict)
Layer = dict[str, Any]

UNUSABLE, SEE_HELP = "These settings cannot be used:", "See --help for all settings."
ABBREVIATIONS = {"lr": "learning_rate"}
"""Names that nothing here has and that resemble none, and what is meant by them."""
EXAMPLE = "It holds lines such as `optim: {epochs: 3}`."


def read_layer(path: Path) -> Layer:
    """Settings from a YAML file, which may hold any part of them.

    Raises:
        SettingsError: It is missing, not YAML, or no mapping.
    """
    layer = read_yaml(path)
    if not isinstance(layer, dict):
        raise SettingsError(f"The settings file {path} does not hold named settings.", hint=EXAMPLE)
    return layer


def merge(below: Layer, above: Layer) -> Layer:
    """Both layers; where both set something, the one above counts.

    A layer that names another kind of student keeps what both kinds have, such as the backbone.
    """
    merged = dict(below)
    for name, value in above.items():
        if isinstance(value, Strict):
            value = value.model_dump()
        if isinstance(value, dict) and isinstance(merged.get(name), dict):
            common = _in_common(merged[name], value) if name == "student" else merged[name]
            value = merge(common, value)
        merged[name] = value
    return merged


def build(kind: type[Config], layer: Layer) -> Config:
    """Settings from one layer.

    Raises:
        SettingsError: Lists every setting that is unknown, missing or impossible, one per line.
    """
    try:
        return kind.model_validate(layer)
    except ValidationError as error:
        raise explain(kind, error) from error


def build_partial(kind: type[Config], layer: Layer, missing: object) -> Config:
    """Settings in which required ones may still be absent, marked by `missing`."""
    if unknown := [_unknown(kind, (str(name),), None) for name in layer if name not in kind.model_fields]:
        raise SettingsError(UNUSABLE, first=unknown, hint=SEE_HELP)
    values: Layer = {}
    for name, field in kind.model_fields.items():
        if name not in layer:
            values[name] = missing if field.is_required() else field.get_default(call_default_factory=True)
            continue
        try:
            kind_of_field: Any = field.annotation
            if field.metadata:
                kind_of_field = Annotated[kind_of_field, *field.metadata]
            values[name] = TypeAdapter(kind_of_field).validate_python(layer[name])
        except ValidationError as error:
            raise explain(kind, error, prefix=(name,)) from error
    return kind.model_construct(**values)


def explain(
    kind: type[Strict],
    error: ValidationError,
    prefix: tuple[str, ...] = (),
    *,
    message: str = UNUSABLE,
    hint: str = SEE_HELP,
    show: Callable[[str], str] = str,
) -> SettingsError:
    """One plain line per wrong setting, with the name that was probably meant.

    Args:
        kind: What could not be made.
        error: Why not.
        prefix: Section of `kind` that the error is about, if it is about one alone.
        message: What is said first.
        hint: What to do next.
        show: How the name of a setting is written.
    """
    lines = [_line(kind, problem, prefix, show) for problem in error.errors()]
    return SettingsError(message, first=lines, hint=hint)


def explain_flags(kind: type[Strict], error: ValidationError) -> SettingsError:
    """As `explain`, for a command whose flags were read: they are named as they were given."""
    section = "student" if error.title in {student.__name__ for student in STUDENTS.values()} else None
    for name, settings in _sections(kind).items():
        section = name if settings.__name__ == error.title else section
    return explain(kind, error, () if section is None else (section,), show=_flag)


def _flag(name: str) -> str:
    """The flag of a setting, or of one of its values, such as `view.image_size.0`."""
    parts = name.replace("_", "-").split(".")
    return "--" + ".".join(part for part in parts if not part.isdigit())


def _line(
    kind: type[Strict], problem: Mapping[str, Any], prefix: tuple[str, ...], show: Callable[[str], str]
) -> str:
    """What is wrong with one setting."""
    path = (*prefix, *(str(part) for part in problem["loc"]))
    student = path[1] if len(path) > 1 and path[0] == "student" else None
    if student in STUDENTS:  # says which member of the union it is about, and is no part of the name
        path = ("student", *path[2:])
    name = ".".join(path)
    if problem["type"] == "extra_forbidden":
        return _unknown(kind, path, student)
    if problem["type"] == "missing":
        return f"Missing setting: {name}"
    if problem["type"] == "unknown_student":
        return f"{show('student.kind')}: {problem['msg']}{_no_student(problem['input'])}"
    said = problem["msg"].removeprefix("Value error, ")
    # several settings do not go together; the text names them
    if isinstance(problem["input"], dict | Strict):
        return f"{name}: {said}" if name else said
    return f"{show(name)}: {said} (got {problem['input']!r}{_share(name, problem['input'])})"


def _no_student(given: object) -> str:
    kind = given.get("kind") if isinstance(given, dict) else given
    return f" (got {kind!r}{_meant(str(kind), KINDS)})"


def _share(name: str, given: object) -> str:
    """What a percentage is as a share, if one was given."""
    if name != "label_fraction" or not isinstance(given, int | float) or not 1 < given <= 100:
        return ""
    return f"; {given:g} % is {given / 100:g}"


def _meant(name: str, names: Iterable[str]) -> str:
    close = closest(name, names)
    return f"; did you mean {close}?" if close else ""


def owners(name: str) -> list[str]:
    """The kinds of students that have a setting of this name."""
    return [kind for kind, settings in STUDENTS.items() if name in settings.model_fields]


def _unknown(kind: type[Strict], path: tuple[str, ...], student: str | None) -> str:
    name, last = ".".join(path), ABBREVIATIONS.get(path[-1], path[-1])
    if student is not None and (others := owners(last)):
        return f"{name} is a setting of {', '.join(others)}, but this student is {student}"
    elsewhere = [f"{section}.{last}" for section, of in _sections(kind).items() if last in of.model_fields]
    if "student" in kind.model_fields and owners(last):
        elsewhere.append(f"student.{last}")
    close = " or ".join(elsewhere) or closest(last, _names_beside(kind, path, student))
    return f"Unknown setting: {name}" + (f" (did you mean {close}?)" if close else "")


def _sections(kind: type[Strict]) -> dict[str, type[Strict]]:
    """The sections of settings but the student, which is of several kinds."""
    annotations = {name: field.annotation for name, field in kind.model_fields.items()}
    return {
        name: section
        for name, section in annotations.items()
        if isinstance(section, type) and issubclass(section, Strict)
    }


def _names_beside(kind: type[Strict], path: tuple[str, ...], student: str | None) -> list[str]:
    fields = kind.model_fields
    for name in path[:-1]:
        section = fields[name].annotation if name in fields else None
        if name == "student" and student in STUDENTS:
            section = STUDENTS[student]
        if not (isinstance(section, type) and issubclass(section, Strict)):
            return []
        fields = section.model_fields
    return list(fields)


def _in_common(below: Layer, above: Layer) -> Layer:
    """What of a student's settings the kind of student above has, too; all if it is the same kind."""
    kind = above.get("kind", below.get("kind"))
    if "kind" not in below or kind == below["kind"] or not isinstance(kind, str) or kind not in STUDENTS:
        return below
    return {name: value for name, value in below.items() if name in STUDENTS[kind].model_fields}
