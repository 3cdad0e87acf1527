"""What commands return."""

from dataclasses import dataclass, field
from pathlib import Path

from occfeat.runs.folder import RunFolder


@dataclass(frozen=True)
class Outcome:
    """Text for a person, whose last line is the path to look at next, and the exit code."""

    text: str
    exit_code: int = 0


@dataclass(frozen=True)
class ResultsOutcome(Outcome):
    """What was measured of a run."""

    path: Path = Path()
    """The folder of the results and pictures."""
    metrics: dict[str, float] = field(default_factory=dict)
    """Metrics by name, such as `vehicle_iou/visible` (0 to 1)."""


@dataclass(frozen=True)
class RunOutcome(Outcome):
    """A finished run."""

    path: Path = Path()
    """The run folder, usable as `start` of a fine-tuning or as `run` of an evaluation."""
    metrics: dict[str, float] = field(default_factory=dict)
    """Metrics at the end of the run, such as `vehicle_iou/visible` (0 to 1)."""

    @property
    def weights(self) -> Path:
        """The weights that ship."""
        return RunFolder(self.path).weights


def table(metrics: dict[str, float]) -> str:
    """Return metrics below one another, aligned."""
    width = max((len(name) for name in metrics), default=0)
    return "\n".join(f"{name:<{width}}  {value:.4f}" for name, value in metrics.items())
