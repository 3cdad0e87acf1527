"""The contents of a run folder: settings, environment, metrics, results and pictures, where they exist."""

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any, TypeVar

from pydantic import BaseModel, ConfigDict, ValidationError

from occfeat.errors import RunError
from occfeat.runs.card import ModelCard, read_card
from occfeat.runs.folder import RunFolder
from occfeat.runs.metrics_log import read_rows
from occfeat.runs.saved_settings import read_settings
from occfeat.segmentation.robustness.results import RobustnessResults
from occfeat.settings.commands import TRAINING, ConvertConfig, FinetuneConfig, PretrainConfig
from occfeat.settings.sections import GridConfig
from occfeat.settings.several import names_of

Metrics = dict[str, float | None]


class Results(BaseModel):
    """Results of a command; fields that this version does not know are dropped."""

    model_config = ConfigDict(frozen=True)


Parsed = TypeVar("Parsed", bound=BaseModel)


class Cost(Results):
    """Time and memory of a run."""

    seconds: dict[str, float] = {}
    peak_memory_mb: float = 0.0


class EvaluationResults(Results):
    """Results of an evaluation."""

    split: str
    key_frames: int
    broken: int
    incomplete: int = 0
    threshold: float
    metrics: Metrics


class AnalysisResults(Results):
    """Results of `occfeat analyse`."""

    split: str
    key_frames: int
    voxels: dict[str, int]
    probe_auc: dict[str, Metrics]
    probe_auc_by_distance: dict[str, dict[str, Metrics]] = {}
    """By features and class; empty in an analysis made before it was measured."""
    clusters: dict[str, Metrics]
    centered: bool = False
    """Cosines are of centred features, as in pretraining."""
    cosine_by_class: Metrics
    cosine_by_distance: Metrics
    occupancy_by_distance: dict[str, Metrics]


@dataclass(frozen=True)
class RunFiles:
    """One run, finished or not."""

    path: Path
    name: str
    """Its name in the report: that of its folder, with parent folders where two are equal."""
    command: str
    """`pretrain`, `finetune` or `convert`."""
    settings: FinetuneConfig | PretrainConfig | None
    """None for weights that were converted."""
    environment: dict[str, Any]
    card: ModelCard | None
    """None until the run has finished."""
    rows: list[dict[str, float | int | None]]
    """Rows of `metrics.jsonl`."""
    cost: Cost = field(default_factory=Cost)
    """Seconds and peak memory, where they were measured."""
    evaluations: tuple[EvaluationResults, ...] = ()
    robustness: tuple[RobustnessResults, ...] = ()
    analyses: tuple[tuple[Path, AnalysisResults], ...] = ()
    """Folders with pictures, and the metrics in them."""

    @property
    def grid(self) -> GridConfig | None:
        """Voxels of the run."""
        return self.card.grid if self.card else self.settings.grid if self.settings else None

    @property
    def has_weights(self) -> bool:
        """Whether its weights are there, so that it can predict."""
        return self.card is not None and RunFolder(self.path).weights.is_file()

    @property
    def seconds(self) -> float | None:
        """Time of training, over all interruptions."""
        return self.cost.seconds.get("training")

    @property
    def started(self) -> str:
        """When it was started, in the time zone that was recorded."""
        try:
            return datetime.fromisoformat(str(self.environment["started"])).strftime("%Y-%m-%d %H:%M %Z")
        except (KeyError, ValueError):
            return "-"


def read_runs(paths: Sequence[Path]) -> list[RunFiles]:
    """Read each run folder.

    Raises:
        RunError: A folder is not a run folder or is named twice, or a file in it is damaged.
    """
    folders = [RunFolder.of(path).path for path in paths]
    known = [folder.resolve() for folder in folders]
    if twice := [str(path) for number, path in enumerate(known) if path in known[:number]]:
        raise RunError("These runs are named twice:", first=twice, hint="Name each run once.")
    return [_read(folder, name) for folder, name in zip(folders, names_of(known), strict=True)]


def _read(path: Path, name: str) -> RunFiles:
    """Read the files of one run folder."""
    folder = RunFolder(path)
    card = read_card(path) if folder.card.is_file() else None
    if card is not None and not folder.environment.is_file():
        command, environment, settings = ConvertConfig.command, {}, None
    else:
        environment = folder.read_environment()
        command = str(environment.get("command"))
        if command not in TRAINING:
            hint = f"Give runs of {' or '.join(TRAINING)}."
            raise RunError(f"{path} is a run of `{command}`.", hint=hint)
        settings = read_settings(path, TRAINING[command])
    corrupted = (_parsed(file, RobustnessResults) for file in folder.robustness_results())
    return RunFiles(
        path=path,
        name=name,
        command=command,
        settings=settings,
        environment=environment,
        card=card,
        rows=read_rows(folder.metrics) if folder.metrics.is_file() else [],
        cost=_parsed(folder.footprint, Cost) if folder.footprint.is_file() else Cost(),
        evaluations=tuple(_parsed(file, EvaluationResults) for file in folder.evaluations()),
        robustness=tuple(one for one in corrupted if one.corrupted),  # else it was stopped early
        analyses=tuple((file.parent, _parsed(file, AnalysisResults)) for file in folder.analyses()),
    )


def _parsed(file: Path, kind: type[Parsed]) -> Parsed:
    """Read a JSON file of results."""
    try:
        content = json.loads(
            file.read_text(encoding="utf-8"), parse_constant=lambda _: None
        )  # NaN counts as unknown
        return kind.model_validate(content)
    except (OSError, ValueError, ValidationError) as error:
        first = re.sub(r"\n.*", "", str(error))
        hint = "Restore it from a copy, or run the command again that wrote it."
        raise RunError(f"{file} is damaged or of another version: {first}", hint=hint) from error
