"""Layers of settings: recipe, then settings file, then flags or keyword arguments.

This module imports no torch.
"""

import difflib
from pathlib import Path
from typing import Annotated, Any, TypeVar

from pydantic import TypeAdapter, ValidationError

from occfeat.card import read_card, run_folder
from occfeat.config import Strict
from occfeat.errors import SettingsError
from occfeat.recipes import find_recipe
from occfeat.student_config import STUDENTS
from occfeat.yaml_file import read_yaml

Config = TypeVar("Config", bound=Strict)
Layer = dict[str, Any]


def read_layer(path: Path) -> Layer:
    """Settings from a YAML file, which may hold any part of them.

    Raises:
        SettingsError: It is missing, not YAML, or no mapping.
    """
    layer = read_yaml(path)
    if not isinstance(layer, dict):
        raise SettingsError(f"The settings file {path} does not hold named settings.")
    return layer


def base_layer(
    command: str,
    *,
    recipe: str | None = None,
    config: Path | None = None,
    start: Path | None = None,
    student: str | None = None,
) -> Layer:
    """What lies below the flags: the run to start from, the recipe above it, then the settings file.

    Args:
        command: The command the settings are for.
        recipe: Name of a recipe.
        config: Settings file.
        start: Run to start from.
        student: Kind of student, if a flag names it: it decides which flags there are.
    """
    layer: Layer = {}
    if start is not None:
        card = read_card(run_folder(start))
        layer = {
            "student": card.student.model_dump(),
            "grid": card.grid.model_dump(),
            "view": card.view.model_dump(),
        }
    if recipe is not None:
        layer = merge(layer, dict(find_recipe(recipe).sections(command)))
    if config is not None:
        layer = merge(layer, read_layer(config))
    return layer if student is None else merge(layer, {"student": {"kind": student}})


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
    unknown = [name for name in layer if name not in kind.model_fields]
    if unknown:
        build(kind, layer)  # raises, naming them
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


def explain(kind: type[Strict], error: ValidationError, prefix: tuple[str, ...] = ()) -> SettingsError:
    """One plain line per wrong setting, with the name that was probably meant."""
    lines = []
    for problem in error.errors():
        place = (*prefix, *(str(part) for part in problem["loc"]))
        student = place[1] if len(place) > 1 and place[0] == "student" else None
        if student in STUDENTS:  # says which member of the union it is about, and is no part of the name
            place = ("student", *place[2:])
        name = ".".join(place)
        if problem["type"] == "extra_forbidden":
            lines.append(_unknown(name, student, _names_beside(kind, place, student)))
        elif problem["type"] == "missing":
            lines.append(f"Missing setting: {name}")
        else:
            lines.append(f"{name}: {problem['msg']} (got {problem['input']!r})")
    return SettingsError("These settings cannot be used:", first=lines, hint="See --help for all settings.")


def owners(name: str) -> list[str]:
    """The kinds of students that have a setting of this name."""
    return [kind for kind, settings in STUDENTS.items() if name in settings.model_fields]


def _unknown(name: str, student: str | None, beside: list[str]) -> str:
    last = name.split(".")[-1]
    if student is not None and (others := owners(last)):
        return f"{name} is a setting of {', '.join(others)}, but this student is {student}"
    close = difflib.get_close_matches(last, beside, n=1)
    return f"Unknown setting: {name}" + (f" (did you mean {close[0]}?)" if close else "")


def _names_beside(kind: type[Strict], place: tuple[str, ...], student: str | None) -> list[str]:
    fields = kind.model_fields
    for name in place[:-1]:
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
