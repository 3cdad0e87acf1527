"""Layers of settings: recipe, then settings file, then flags or keyword arguments.

This module imports no torch.
"""

import difflib
from pathlib import Path
from typing import Annotated, Any, TypeVar

import yaml
from pydantic import TypeAdapter, ValidationError

from occfeat.card import read_card, run_folder
from occfeat.config import Strict
from occfeat.errors import SettingsError
from occfeat.recipes import RECIPES, Recipe

Config = TypeVar("Config", bound=Strict)
Layer = dict[str, Any]


def find_recipe(name: str) -> Recipe:
    """The recipe of a name.

    Raises:
        SettingsError: There is none.
    """
    if name not in RECIPES:
        raise SettingsError(f"There is no recipe {name!r}.", hint=f"Recipes: {', '.join(RECIPES)}.")
    return RECIPES[name]()


def read_layer(path: Path) -> Layer:
    """Settings from a YAML file, which may hold any part of them.

    Raises:
        SettingsError: It is missing, not YAML, or no mapping.
    """
    try:
        layer = yaml.safe_load(path.read_text())
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise SettingsError(f"The settings file {path} cannot be read: {error}") from error
    if not isinstance(layer, dict):
        raise SettingsError(f"The settings file {path} does not hold named settings.")
    return layer


def base_layer(
    command: str,
    *,
    recipe: str | None = None,
    config: Path | None = None,
    start: Path | None = None,
) -> Layer:
    """What lies below the flags: the run to start from, the recipe above it, then the settings file."""
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
    return merge(layer, read_layer(config)) if config is not None else layer


def merge(below: Layer, above: Layer) -> Layer:
    """Both layers; where both set something, the one above counts."""
    merged = dict(below)
    for name, value in above.items():
        if isinstance(value, Strict):
            value = value.model_dump()
        if isinstance(value, dict) and isinstance(merged.get(name), dict):
            value = merge(merged[name], value)
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
        name = ".".join(place)
        if problem["type"] == "extra_forbidden":
            close = difflib.get_close_matches(place[-1], _names_beside(kind, place), n=1)
            lines.append(f"Unknown setting: {name}" + (f" (did you mean {close[0]}?)" if close else ""))
        elif problem["type"] == "missing":
            lines.append(f"Missing setting: {name}")
        else:
            lines.append(f"{name}: {problem['msg']} (got {problem['input']!r})")
    return SettingsError("These settings cannot be used:", first=lines, hint="See --help for all settings.")


def _names_beside(kind: type[Strict], place: tuple[str, ...]) -> list[str]:
    fields = kind.model_fields
    for name in place[:-1]:
        section = fields[name].annotation if name in fields else None
        if not (isinstance(section, type) and issubclass(section, Strict)):
            return []
        fields = section.model_fields
    return list(fields)
