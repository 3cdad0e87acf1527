"""The names of the files in a run folder, which are written here and nowhere else. Imports no torch."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from occfeat.errors import RunError
from occfeat.settings.commands import TRAINING

RESULTS = "results.json"
"""Metrics of an evaluation, in its folder."""
ROBUSTNESS = "robustness.json"
"""Metrics under corruptions, in the folder of their evaluation."""
ROBUSTNESS_TABLES = "robustness.md"
"""The same as tables, written last."""
ANALYSIS = "analysis.json"
"""Metrics of an analysis, in its folder."""
CURVES = "curves.png"
"""Picture of the metrics over the steps, among the pictures of a run."""
LEARNED = "learned.png"
"""Picture of what other objectives of pretraining predict, if there are any."""
OCCUPANCY = "occupancy.png"
"""Picture of what pretraining predicts, drawn last."""


@dataclass(frozen=True)
class RunFolder:
    """A run folder and the files in it, whether they are there or not."""

    path: Path

    @classmethod
    def of(cls, path: Path) -> "RunFolder":
        """Return the run folder of a path that names the folder or a file in it, such as its weights."""
        in_it = path.is_file() or path.name == cls(path.parent).weights.name
        return cls(path.parent if in_it else path)

    @property
    def settings(self) -> Path:
        """The complete settings, which can be used as `--config`."""
        return self.path / "settings.yaml"

    @property
    def environment(self) -> Path:
        """Where and how the run was started; the first file of the folder."""
        return self.path / "environment.json"

    @property
    def log(self) -> Path:
        """What the run logged."""
        return self.path / "log.txt"

    @property
    def metrics(self) -> Path:
        """Rows of metrics, one JSON object per line."""
        return self.path / "metrics.jsonl"

    @property
    def checkpoint(self) -> Path:
        """The state from which an interrupted run goes on."""
        return self.path / "checkpoints" / "last.pt"

    @property
    def weights(self) -> Path:
        """The weights that ship."""
        return self.path / "weights.safetensors"

    @property
    def card(self) -> Path:
        """The model card, which says how to build the network of the weights."""
        return self.path / "model.json"

    @property
    def prepared(self) -> Path:
        """What objectives of pretraining found before the first step, by their names."""
        return self.path / "prepared.json"

    @property
    def footprint(self) -> Path:
        """Time and memory that the run took."""
        return self.path / "footprint.json"

    @property
    def pictures(self) -> Path:
        """Folder of the pictures."""
        return self.path / "pictures"

    @property
    def label_tokens(self) -> Path:
        """Tokens of the labelled key frames, one per line."""
        return self.path / "label_tokens.txt"

    def evaluation(self, split: str) -> Path:
        """Return the folder of the evaluation on a split."""
        return self.path / f"evaluation-{split}"

    def robustness(self, split: str) -> Path:
        """Return the folder of the evaluation under corruptions on a split."""
        return self.path / f"robustness-{split}"

    def analysis(self, split: str) -> Path:
        """Return the folder of the analysis on a split."""
        return self.path / f"analysis-{split}"

    def evaluations(self) -> list[Path]:
        """Return the results of all evaluations in the folder."""
        return sorted(self.path.glob(f"{self.evaluation('*').name}/{RESULTS}"))

    def robustness_results(self) -> list[Path]:
        """Return the results of all evaluations under corruptions in the folder."""
        return sorted(self.path.glob(f"*/{ROBUSTNESS}"))

    def analyses(self) -> list[Path]:
        """Return the results of all analyses in the folder."""
        return sorted(self.path.glob(f"*/{ANALYSIS}"))

    def read_environment(self) -> dict[str, Any]:
        """Return what is written down about where and how the run was started.

        Raises:
            RunError: The folder is not a run folder, or the file is damaged.
        """
        file = self.environment
        try:
            environment = json.loads(file.read_text(encoding="utf-8"))
        except (OSError, ValueError, RecursionError) as error:
            message = f"{self.path} is not a run folder: {file.name} cannot be read."
            raise RunError(message, hint="Check the path.") from error
        if not isinstance(environment, dict):
            raise RunError(f"{file} does not hold a JSON object.", hint="Restore it from a copy.")
        return environment

    def resumable_command(self) -> str | None:
        """Return the command whose run this is if it can be resumed, else None."""
        if not self.settings.is_file():
            return None
        try:
            command = self.read_environment().get("command")
        except RunError:
            return None
        return command if command in TRAINING else None
