"""Loggers of figures beside `metrics.jsonl`: TensorBoard, Weights & Biases, MLflow.

All of them write into the run folder and send nothing anywhere, unless the user's own environment says so:
`WANDB_MODE=online` for Weights & Biases, `MLFLOW_TRACKING_URI` for MLflow. Their telemetry and error reports
are off unless the environment turns them on.
"""

import os
import time
import uuid
from collections.abc import Iterator, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

from occfeat.errors import RunError, SettingsError
from occfeat.settings.sections import LoggerName
from occfeat.settings.yaml_file import read_yaml

PROJECT = "occfeat"
"""Project of Weights & Biases, and experiment of MLflow, that all runs belong to."""
PARAMETERS_AT_ONCE = 100
"""Parameters that MLflow takes in one call."""


@runtime_checkable
class FigureLogger(Protocol):
    """Shows the figures of one run."""

    def write(self, step: int, figures: dict[str, float]) -> None:
        """Add one row."""

    def close(self) -> None:
        """Write out what is pending."""


def require_loggers(names: Sequence[LoggerName] | None) -> None:
    """Refuse loggers whose packages are not installed, before a run begins.

    Raises:
        SettingsError: One is missing.
    """
    for name in () if names is None else names:
        if find_spec(name) is None:
            hint = f"pip install 'occfeat[{name}]', or leave {name} out of engine.loggers."
            raise SettingsError(f"engine.loggers names {name}, which is not installed.", hint=hint)


def open_loggers(names: Sequence[LoggerName] | None, folder: Path, step: int) -> list[FigureLogger]:
    """The loggers of a run, which go on where they were if they were there before.

    Args:
        names: Which ones. None: TensorBoard, if it is installed.
        folder: The run folder.
        step: Step the run goes on from.

    Raises:
        SettingsError: A package is missing.
        RunError: A logger cannot be started.
    """
    require_loggers(names)
    by_default: tuple[LoggerName, ...] = ("tensorboard",) if find_spec("tensorboard") else ()
    chosen = by_default if names is None else names
    try:
        return [_open(name, folder, step) for name in chosen]
    except Exception as error:  # of other packages, and of networks between here and a server
        hint = "Mend it, or leave it out of engine.loggers."
        raise RunError(f"The logger could not be started: {error}", hint=hint) from error


def _open(name: LoggerName, folder: Path, step: int) -> FigureLogger:
    match name:
        case "tensorboard":
            return TensorBoardLogger(folder, step)
        case "wandb":
            return WandbLogger(folder)
        case "mlflow":
            return MlflowLogger(folder)


class TensorBoardLogger:
    """Event files in `tensorboard/`; rows after `step` are dropped."""

    def __init__(self, folder: Path, step: int) -> None:
        from torch.utils.tensorboard import SummaryWriter

        # what it is given is the first step to drop
        self._writer: Any = SummaryWriter(str(folder / "tensorboard"), purge_step=step + 1)

    def write(self, step: int, figures: dict[str, float]) -> None:
        """Add one row."""
        for name, value in figures.items():
            self._writer.add_scalar(name, value, step)

    def close(self) -> None:
        """Write out what is pending."""
        self._writer.close()


class WandbLogger:
    """A run in `wandb/`, for `wandb sync`; with `WANDB_MODE=online` it is sent while it is written."""

    def __init__(self, folder: Path) -> None:
        os.environ.setdefault("WANDB_ERROR_REPORTING", "false")
        os.environ.setdefault("WANDB_MODE", "offline")
        import wandb

        online = os.environ["WANDB_MODE"] == "online"
        kept = folder / "wandb" / "id.txt"
        self._run: Any = wandb.init(
            project=os.environ.get("WANDB_PROJECT", PROJECT),
            dir=folder,
            name=folder.name,
            id=kept.read_text() if kept.is_file() else uuid.uuid4().hex,
            resume="allow" if online else None,
            config=flat_settings(folder),
            settings=wandb.Settings(console="off", silent=True, save_code=False),
        )
        kept.parent.mkdir(exist_ok=True)
        kept.write_text(self._run.id)

    def write(self, step: int, figures: dict[str, float]) -> None:
        """Add one row."""
        self._run.log(figures, step=step)

    def close(self) -> None:
        """Write out what is pending."""
        self._run.finish()


class MlflowLogger:
    """A run in the data base `mlflow/mlflow.db`, or at `MLFLOW_TRACKING_URI`."""

    def __init__(self, folder: Path) -> None:
        os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
        from mlflow import MlflowClient
        from mlflow.entities import Metric

        self._metric: Any = Metric
        home = folder / "mlflow"
        home.mkdir(exist_ok=True)
        own = f"sqlite:///{home.absolute() / 'mlflow.db'}"
        self._client: Any = MlflowClient(os.environ.get("MLFLOW_TRACKING_URI", own))
        kept = home / "id.txt"
        if kept.is_file():
            self._id = kept.read_text()
            self._client.update_run(self._id, status="RUNNING")
        else:
            self._id = self._create(folder)
            kept.write_text(self._id)

    def write(self, step: int, figures: dict[str, float]) -> None:
        """Add one row."""
        now_ms = int(1000 * time.time())
        row = [self._metric(name, value, now_ms, step) for name, value in figures.items()]
        self._client.log_batch(self._id, metrics=row)

    def close(self) -> None:
        """Mark the run as ended."""
        self._client.set_terminated(self._id)

    def _create(self, folder: Path) -> str:
        from mlflow.entities import Param

        experiment = self._client.get_experiment_by_name(PROJECT)
        number = experiment.experiment_id if experiment else self._client.create_experiment(PROJECT)
        identity: str = self._client.create_run(number, run_name=folder.name).info.run_id
        parameters = [Param(name, str(value)) for name, value in flat_settings(folder).items()]
        for first in range(0, len(parameters), PARAMETERS_AT_ONCE):
            self._client.log_batch(identity, params=parameters[first : first + PARAMETERS_AT_ONCE])
        return identity


def flat_settings(folder: Path) -> dict[str, Any]:
    """Settings of a run by their names on the command line, such as `optim.epochs`."""
    file = folder / "settings.yaml"
    return dict(_flat(read_yaml(file))) if file.is_file() else {}


def _flat(settings: dict[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for name, value in settings.items():
        if isinstance(value, dict):
            yield from _flat(value, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", value
