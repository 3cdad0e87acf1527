"""Layers of settings: recipe, then settings file, then flags or keyword arguments. Imports no torch."""

from pathlib import Path
from typing import Annotated, Any, TypeVar

from pydantic import TypeAdapter, ValidationError

from occfeat.errors import SettingsError
from occfeat.settings.explain import SEE_HELP, UNUSABLE, explain, unknown_setting
from occfeat.settings.strict import Strict
from occfeat.settings.students import STUDENTS
from occfeat.settings.yaml_file import read_yaml

Config = TypeVar("Config", bound=Strict)
Layer = dict[str, Any]

EXAMPLE = "Write lines such as `optim: {epochs: 3}`."


def read_layer(path: Path) -> Layer:
    """Read a YAML file with some or all settings.

    Raises:
        SettingsError: The file is missing, is not YAML, or does not contain named settings.
    """
    layer = read_yaml(path)
    if not isinstance(layer, dict):
        raise SettingsError(f"Expected named settings in the file {path}, got something else.", hint=EXAMPLE)
    return layer


def merge(below: Layer, above: Layer) -> Layer:
    """Return both layers merged; settings of the upper layer override those of the lower.

    If the upper layer names another kind of student, the settings that both kinds have are kept.
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
    """Build settings from one layer.

    Raises:
        SettingsError: Lists every setting that is unknown, missing or impossible, one per line.
    """
    try:
        return kind.model_validate(layer)
    except ValidationError as error:
        raise explain(kind, error) from error


def build_partial(kind: type[Config], layer: Layer, missing: object) -> Config:
    """Build settings although required ones may be absent; `missing` is their value."""
    if unknown := [
        unknown_setting(kind, (str(name),), None) for name in layer if name not in kind.model_fields
    ]:
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


def _in_common(below: Layer, above: Layer) -> Layer:
    """Return the settings of a student that another kind of student has, too."""
    kind = above.get("kind", below.get("kind"))
    if "kind" not in below or kind == below["kind"] or not isinstance(kind, str) or kind not in STUDENTS:
        return below
    return {name: value for name, value in below.items() if name in STUDENTS[kind].model_fields}
