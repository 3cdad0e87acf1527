"""Logging of metrics to `metrics.jsonl` and, if requested, to TensorBoard, Weights & Biases and MLflow.

All loggers write into the run folder and stay offline, unless the user's environment overrides it:
`WANDB_MODE=online` for Weights & Biases, `MLFLOW_TRACKING_URI` for MLflow. Their telemetry and error reports
are off unless the environment turns them on.
"""

import errno
import json
import logging
import math
import os
import time
import uuid
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from importlib.util import find_spec
from io import FileIO
from pathlib import Path
from types import NoneType
from typing import Any, Protocol, runtime_checkable

import orjson

from occfeat.errors import RunError
from occfeat.machine.extras import require_extra
from occfeat.runs.saved_settings import flat_settings
from occfeat.settings.sections import LoggerName

logger = logging.getLogger(__name__)

PROJECT = "occfeat"
"""Project of Weights & Biases, and experiment of MLflow, that all runs belong to."""
FACTORS = ("ratio/", "weight/")
"""How metrics begin that are factors, which belong on a logarithmic axis."""
PARAMETERS_AT_ONCE = 100
"""Parameters that MLflow takes in one call."""

_RESTORE = "Restore it from a copy, or start a new run in another folder."


class MetricsLog:
    """Appends rows of metrics to a JSONL file and passes them to loggers.

    A logger that fails is dropped with a warning: training goes on, and the file holds everything.

    Args:
        file: The JSONL file in the run folder. None writes nothing, as in all but the first process.
        keep_bytes: On resuming, the size of the file at the checkpoint; what follows is cut off.
        step: Step the run goes on from.
        loggers: Loggers beside the file. None: TensorBoard, if it is installed.
    """

    def __init__(
        self,
        file: Path | None,
        *,
        keep_bytes: int = 0,
        step: int = 0,
        loggers: Sequence[LoggerName] | None = None,
    ) -> None:
        self._file = _open_at(file, keep_bytes) if file else None
        self._loggers = open_loggers(loggers, file.parent, step) if file else []

    def sync(self) -> int:
        """Force all rows to disk, before a checkpoint refers to them; return the size in bytes."""
        if self._file is None:
            return 0
        with _as_run_error(Path(self._file.name)):
            os.fsync(self._file.fileno())
            return os.fstat(self._file.fileno()).st_size

    def write(self, step: int, metrics: dict[str, float]) -> None:
        """Add one row; a metric that is not finite is written as null.

        Raises:
            RunError: The file cannot be written, because the disk is full for example.
        """
        if self._file is None:
            return
        row: dict[str, float | int | None] = {"step": step}
        row |= {name: value if math.isfinite(value) else None for name, value in metrics.items()}
        line = json.dumps(row).encode() + b"\n"
        with _as_run_error(Path(self._file.name)):
            if self._file.write(line) < len(line):
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        self._on_loggers(lambda one: one.write(step, metrics))

    def close(self) -> None:
        """Close the file and the loggers."""
        if self._file is not None:
            self._file.close()
        self._on_loggers(lambda one: one.close())

    def _on_loggers(self, do: Callable[["MetricsLogger"], None]) -> None:
        """Call each logger; drop those that fail."""
        for one in tuple(self._loggers):
            try:
                do(one)
            except Exception as error:  # of other packages, and of networks between here and a server
                logger.warning("%s gets no more metrics: %s", type(one).__name__, error)
                self._loggers.remove(one)


def _open_at(file: Path, keep_bytes: int) -> FileIO:
    """Open a JSONL file for appending, unbuffered, after cutting it to its first bytes."""
    with _as_run_error(file):
        size = file.stat().st_size if file.exists() else 0
        if size < keep_bytes:
            message = f"{file} has {size} bytes, but had {keep_bytes} at the last checkpoint."
            raise RunError(message, hint=_RESTORE)
        opened = FileIO(file, "ab")
        opened.truncate(keep_bytes)
        return opened


@contextmanager
def _as_run_error(file: Path) -> Iterator[None]:
    """Turn errors of the system into errors that name the file."""
    try:
        yield
    except OSError as error:
        hint = "Free some disk space or check the rights of the folder, then use --resume."
        raise RunError(f"{file} could not be written: {error.strerror}", hint=hint) from error


def read_rows(file: Path) -> list[dict[str, float | int | None]]:
    """Return all rows of a `metrics.jsonl`.

    Raises:
        RunError: A line is not a row of metrics, or the file cannot be read.
    """
    rows = []
    try:
        for number, line in enumerate(file.read_bytes().splitlines(), start=1):
            rows.append(row := orjson.loads(line))
            if not isinstance(row, dict) or not set(map(type, row.values())) <= {int, float, NoneType}:
                raise RunError(f"Line {number} of {file} is not a row of metrics.", hint=_RESTORE)
    except (OSError, orjson.JSONDecodeError) as error:
        raise RunError(f"{file} is damaged after line {len(rows)}: {error}", hint=_RESTORE) from error
    return rows


def last_row(file: Path) -> dict[str, float]:
    """Return the metrics of the last row without step, times and learning rate; {} if there are none."""
    rows = read_rows(file) if file.exists() else []
    left_out = ("step", "learning_rate", "time/")
    metrics = rows[-1].items() if rows else ()
    return {
        name: float("nan") if value is None else float(value)
        for name, value in metrics
        if not name.startswith(left_out)
    }


@runtime_checkable
class MetricsLogger(Protocol):
    """Shows the metrics of one run."""

    def write(self, step: int, metrics: dict[str, float]) -> None:
        """Add one row."""

    def close(self) -> None:
        """Write out what is pending."""


def require_loggers(names: Sequence[LoggerName] | None) -> None:
    """Refuse loggers whose packages are not installed, before a run begins.

    Raises:
        MissingExtraError: A package is missing.
    """
    for name in names or ():
        require_extra(name, what=f"The logger {name} of engine.loggers")


def open_loggers(names: Sequence[LoggerName] | None, folder: Path, step: int) -> list[MetricsLogger]:
    """Open the loggers of a run, which go on where they were.

    Args:
        names: Which ones. None: TensorBoard, if it is installed.
        folder: The run folder.
        step: Step the run goes on from.

    Raises:
        MissingExtraError: A package is missing.
        RunError: A logger cannot be started.
    """
    require_loggers(names)
    by_default: tuple[LoggerName, ...] = ("tensorboard",) if find_spec("tensorboard") else ()
    chosen = by_default if names is None else names
    try:
        return [_open(name, folder, step) for name in chosen]
    except Exception as error:  # of other packages, and of networks between here and a server
        hint = "Repair it, or leave it out of engine.loggers."
        raise RunError(f"The logger could not be started: {error}", hint=hint) from error


def _open(name: LoggerName, folder: Path, step: int) -> MetricsLogger:
    """Open one logger."""
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

        # purge_step is the first step to drop
        self._writer: Any = SummaryWriter(str(folder / "tensorboard"), purge_step=step + 1)

    def write(self, step: int, metrics: dict[str, float]) -> None:
        """Add one row."""
        for name, value in metrics.items():
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
            id=kept.read_text(encoding="utf-8") if kept.is_file() else uuid.uuid4().hex,
            resume="allow" if online else None,
            config=flat_settings(folder),
            settings=wandb.Settings(console="off", silent=True, save_code=False),
        )
        kept.parent.mkdir(exist_ok=True)
        kept.write_text(self._run.id, encoding="utf-8")

    def write(self, step: int, metrics: dict[str, float]) -> None:
        """Add one row."""
        self._run.log(metrics, step=step)

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
            self._id = kept.read_text(encoding="utf-8")
            self._client.update_run(self._id, status="RUNNING")
        else:
            self._id = self._create(folder)
            kept.write_text(self._id, encoding="utf-8")

    def write(self, step: int, metrics: dict[str, float]) -> None:
        """Add one row."""
        now_ms = int(1000 * time.time())
        row = [self._metric(name, value, now_ms, step) for name, value in metrics.items()]
        self._client.log_batch(self._id, metrics=row)

    def close(self) -> None:
        """Mark the run as ended."""
        self._client.set_terminated(self._id)

    def _create(self, folder: Path) -> str:
        """Create the run with the settings as parameters; return its identity."""
        from mlflow.entities import Param

        experiment = self._client.get_experiment_by_name(PROJECT)
        number = experiment.experiment_id if experiment else self._client.create_experiment(PROJECT)
        identity: str = self._client.create_run(number, run_name=folder.name).info.run_id
        parameters = [Param(name, str(value)) for name, value in flat_settings(folder).items()]
        for first in range(0, len(parameters), PARAMETERS_AT_ONCE):
            self._client.log_batch(identity, params=parameters[first : first + PARAMETERS_AT_ONCE])
        return identity
