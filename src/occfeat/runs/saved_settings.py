"""Settings in a run folder: how they are written and read. Imports no torch."""

import logging
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, TypeVar

import yaml
from pydantic import ValidationError

from occfeat.errors import RunError
from occfeat.runs.folder import RunFolder
from occfeat.settings.commands import TRAINING
from occfeat.settings.explain import explain
from occfeat.settings.removed import without_removed
from occfeat.settings.strict import Strict
from occfeat.settings.yaml_file import read_yaml

logger = logging.getLogger(__name__)
Config = TypeVar("Config", bound=Strict)


def settings_text(config: Strict) -> str:
    """Return settings as YAML that reads back to the same settings."""
    return yaml.safe_dump(config.model_dump(mode="json"), sort_keys=False)


def read_settings(path: Path, kind: type[Config]) -> Config:
    """Return the settings of a run; those that this version does not have any more are left out.

    Args:
        path: The run folder.
        kind: What its settings should be.

    Raises:
        RunError: The folder holds no settings, or those of another command.
        SettingsError: They are not valid.
    """
    folder = RunFolder(path)
    file = folder.settings
    if not file.is_file():
        raise RunError(
            f"{path} is not a run folder: {file.name} is missing.", hint="Give the folder of a run."
        )
    content, removed = without_removed(read_yaml(file))
    for name, reason in removed.items():
        logger.warning("%s: the setting %s was removed and is ignored: %s.", file, name, reason)
    try:
        return kind.model_validate(content)
    except ValidationError as error:
        _require_settings_of(folder, kind)
        hint = "Restore the file from a copy, or start a new run in another folder."
        message = f"{file} does not hold valid settings:"
        raise explain(kind, error, message=message, hint=_versions(folder) + hint) from error


def _versions(folder: RunFolder) -> str:
    """Return a sentence that names the version which wrote a run, if it is known."""
    try:
        version = folder.read_environment()["versions"]["occfeat"]
    except (RunError, KeyError, TypeError):
        return ""
    return f"They were written by occfeat {version}. "


def _require_settings_of(folder: RunFolder, kind: type[Strict]) -> None:
    """Refuse a run whose settings are those of another command."""
    command = folder.resumable_command()
    if command is not None and TRAINING[command] is not kind and kind in TRAINING.values():
        raise RunError(
            f"{folder.path} is a {TRAINING[command].stage} run.",
            hint=f"Resume it with `occfeat {command} --resume {folder.path}`.",
        )


def flat_settings(folder: Path) -> dict[str, Any]:
    """Return the settings of a run by their names on the command line, such as `optim.epochs`."""
    file = RunFolder(folder).settings
    return dict(_flat(read_yaml(file))) if file.is_file() else {}


def changed_settings(then: Mapping[str, Any], now: Mapping[str, Any]) -> list[str]:
    """Return what has changed in flat settings, one text each; other versions may know other names."""
    both = [name for name in then if name in now]
    return [f"{name}: {then[name]}, now {now[name]}" for name in both if then[name] != now[name]]


def _flat(settings: dict[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Yield the settings of all sections with their full names."""
    for name, value in settings.items():
        if isinstance(value, dict):
            yield from _flat(value, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", value
