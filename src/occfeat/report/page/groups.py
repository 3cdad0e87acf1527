"""Groups of runs that differ only in seed or draw of labels, and the spread of their metrics."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import takewhile
from pathlib import Path
from typing import Any

import yaml

from occfeat.errors import SettingsError
from occfeat.report.page.runs import RunFiles
from occfeat.runs.environment import fingerprints_of
from occfeat.runs.folder import RunFolder

BY_CHANCE = ("out", "data", "version", "teacher_cache", "image_cache", "pictures", "label_seed")
"""Settings that may differ within a group. Data and cache are compared by fingerprint instead."""
OF_ENGINE = ("precision",)
"""Settings of the engine that must be equal within a group."""


@dataclass(frozen=True)
class Spread:
    """Mean and range of a metric over runs that differ by chance alone."""

    mean: float
    least: float
    most: float
    runs: int
    """How many runs have the metric."""
    missing: int = 0
    """How many runs of the group do not have it."""

    @classmethod
    def of(cls, values: Sequence[float | None]) -> "Spread":
        """Return mean and range of values of which at least one is known."""
        known = [value for value in values if value is not None]
        missing = len(values) - len(known)
        return cls(sum(known) / len(known), min(known), max(known), len(known), missing)

    def __str__(self) -> str:
        spread = f" ({self.least:.4f} to {self.most:.4f})" if self.runs > 1 else ""
        known = f", {self.runs} of {self.runs + self.missing} runs" if self.missing else ""
        return f"{self.mean:.4f}{spread}{known}"


@dataclass(frozen=True)
class Group:
    """Runs that differ by chance alone."""

    name: str
    runs: tuple[RunFiles, ...]


def group_runs(runs: Sequence[RunFiles]) -> list[Group]:
    """Return the groups in the order of their first runs."""
    by_settings: dict[str, list[RunFiles]] = {}
    for run in runs:
        by_settings.setdefault(_settings_text(run), []).append(run)
    members = list(by_settings.values())
    names = [_common_name([run.name for run in group]) for group in members]
    return [
        Group(name if names.count(name) == 1 else ", ".join(run.name for run in group), tuple(group))
        for name, group in zip(names, members, strict=True)
    ]


def spreads(group: Group, metrics: Sequence[Mapping[str, float | None]]) -> dict[str, Spread]:
    """Return mean and range of each metric over the runs of a group that have it.

    Args:
        group: The runs.
        metrics: Metrics of each run, in order; {} if it has none.
    """
    if len(metrics) != len(group.runs):
        raise ValueError(f"expected metrics of {len(group.runs)} runs, got {len(metrics)}")
    names = dict.fromkeys(name for one in metrics for name in one)
    values = {name: [one.get(name) for one in metrics] for name in names}
    return {name: Spread.of(some) for name, some in values.items() if any(one is not None for one in some)}


def require_comparable(runs: Sequence[RunFiles]) -> None:
    """Refuse runs on different grids or data sets: their metrics cannot be compared.

    Raises:
        SettingsError: Names what differs.
    """
    first = runs[0]
    differing = []
    for run in runs[1:]:
        if run.grid != first.grid:
            differing.append(f"{run.name}: grid {run.grid}, but {first.name}: {first.grid}")
        ours, theirs = (list(fingerprints_of(one.environment).values()) for one in (run, first))
        if ours and theirs and ours != theirs:
            data = [data_of(one) for one in (run, first)]
            differing.append(f"{run.name}: data of {data[0]}, but {first.name}: other data, of {data[1]}")
    if differing:
        hint = "Write a report for each grid and data set."
        raise SettingsError("These runs cannot be compared:", first=differing, hint=hint)


def data_of(run: RunFiles) -> str:
    """Return the folder of a run's data set; of several, each with the begin of its fingerprint."""
    if run.settings is None:
        return "unknown"
    marks = fingerprints_of(run.environment).values()
    if len(run.settings.data) == 1 or len(marks) != len(run.settings.data):
        return ", ".join(map(str, run.settings.data))
    return ", ".join(f"{data} ({mark[:12]})" for data, mark in zip(run.settings.data, marks, strict=True))


def _settings_text(run: RunFiles) -> str:
    """Return everything about a run that is not chance, as text."""
    if run.settings is None:
        return str(run.path)
    return f"{run.command} {_without_chance(run.settings.model_dump(mode='json'))}"


def _without_chance(settings: dict[str, Any]) -> dict[str, Any]:
    """Return settings without those that may differ within a group."""
    kept = {name: value for name, value in settings.items() if name not in BY_CHANCE}
    kept["engine"] = {name: value for name, value in kept["engine"].items() if name in OF_ENGINE}
    if kept.get("start") is not None:
        kept["start"] = _start_settings(Path(kept["start"]))
    return kept


def _start_settings(path: Path) -> object:
    """Return what a run was started from: the settings of that run, or its path if they cannot be read."""
    file = RunFolder.of(path).settings
    try:
        return _without_chance(yaml.safe_load(file.read_text(encoding="utf-8")))
    except (OSError, ValueError, yaml.YAMLError, KeyError, AttributeError, TypeError):
        return str(path)


def _common_name(names: Sequence[str]) -> str:
    """Return what the names of a group begin with, without the number at the end."""
    if len(names) == 1:
        return names[0]
    alike = takewhile(lambda letters: len(set(letters)) == 1, zip(*names, strict=False))
    common = "".join(letters[0] for letters in alike).rstrip("0123456789").rstrip("-_. /")
    return common or f"{names[0]} …"
