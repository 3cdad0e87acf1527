"""Common parts of the training commands: starting a run and returning its outcome.

Invalid inputs are refused before anything slow, and before the run folder is created.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Generic, TypeVar

import numpy as np
from lightning_fabric import Fabric
from numpy.typing import NDArray

from occfeat.commands.outcome import RunOutcome, table
from occfeat.commands.sets import require_files, require_plausible_sets, warn_of_sets
from occfeat.data.index.sets import DataSets
from occfeat.errors import SettingsError
from occfeat.report.pictures.plots import draw_curves
from occfeat.runs.folder import CURVES, RunFolder
from occfeat.runs.metrics_log import read_rows, require_loggers
from occfeat.runs.output import require_free
from occfeat.runs.run import Run
from occfeat.runs.saved_settings import read_settings
from occfeat.settings.commands import FinetuneConfig, PretrainConfig
from occfeat.settings.strict import absolute
from occfeat.training.device import all_alive, build_fabric
from occfeat.training.loop import Job, fit, micro_batch_size

Config = TypeVar("Config", PretrainConfig, FinetuneConfig)
Target = TypeVar("Target")


@dataclass(frozen=True)
class Training(Generic[Config]):
    """A training command that may begin: its settings, its data and its devices."""

    config: Config
    sets: DataSets
    fabric: Fabric
    resume: bool
    """Go on with the run in the folder `config.out`."""

    @property
    def data_sets(self) -> dict[str, str]:
        """Fingerprints of several data sets, by their names."""
        fingerprint = self.sets.fingerprint
        return fingerprint if isinstance(fingerprint, dict) else {}

    @property
    def cameras(self) -> tuple[str, ...]:
        """Cameras of the only data set; empty if there are several."""
        if self.sets.names:
            return ()
        return self.config.view.cameras or self.sets.each[0].index.default_channels

    @property
    def micro_batch(self) -> int:
        """Key frames that each device has in memory at once."""
        return micro_batch_size(self.config.optim, self.fabric.world_size)

    def require_files(self, rows: NDArray[np.int64], *, needs_lidar: bool) -> None:
        """Refuse key frames of which more files are missing than allowed, or whose calibration cannot be.

        Raises:
            DatasetError: More are, or some cannot be.
        """
        view, engine = self.config.view, self.config.engine
        require_files(self.sets, rows, view=view, needs_lidar=needs_lidar, engine=engine)
        only_warn = engine.implausible == "warn"
        require_plausible_sets(self.sets, rows, view=view, needs_lidar=needs_lidar, only_warn=only_warn)

    @contextmanager
    def open_run(self) -> Iterator[Run]:
        """Open the run folder, in the first process for writing.

        Raises:
            RunError: The folder cannot be used, or another process of the run has died.
        """
        config, fabric, fingerprint = self.config, self.fabric, self.sets.fingerprint
        with (
            all_alive(fabric),
            Run.start(config.out, config.command, config, fabric, fingerprint, resume=self.resume) as run,
        ):
            yield run

    @property
    def goes_on_from_checkpoint(self) -> bool:
        """Whether a run is resumed that has taken steps already."""
        return self.resume and RunFolder(self.config.out).checkpoint.exists()

    def fit(self, job: Job[Target], run: Run) -> None:
        """Train the network of a job in place, and draw the curves of the run.

        Raises:
            Interrupted: After Ctrl-C or SIGTERM, with everything saved.
        """
        fit(job, run, self.fabric, resume=self.resume)
        if run.writes:
            folder = run.folder
            draw_curves(folder.pictures / CURVES, read_rows(folder.metrics), title=folder.path.name)


def begin_training(config: Config, sets: DataSets, *, resume: bool) -> Training[Config]:
    """Start the devices; refuse a batch, a folder or loggers that cannot be used.

    Raises:
        SettingsError: The batch cannot be split, or a device or a logger is not there.
        RunError: The folder of a new run holds something.
    """
    fabric = build_fabric(config.engine)
    micro_batch_size(config.optim, fabric.world_size)
    if fabric.is_global_zero and not resume:
        require_free(config.out, config.command)
    require_loggers(config.engine.loggers)
    warn_of_sets(sets)
    return Training(config, sets, fabric, resume)


def settings_of_run(path: Path, kind: type[Config], data: Sequence[Path] = ()) -> Config:
    """Read the settings of a run to go on with; the folder may have moved.

    Args:
        path: The folder of the run.
        kind: What its settings should be.
        data: Where its data sets are now; whether they are the same is checked later. Empty: where they were.

    Raises:
        OccFeatError: It is not the folder of such a run, or has another number of data sets.
    """
    config = read_settings(path, kind).model_copy(update={"out": path})
    if not data:
        return config
    if len(data) != len(config.data):
        what = f"Expected {len(config.data)} data folders, as the run has, got {len(data)}."
        raise SettingsError(what, hint="Give them in the order of its settings.")
    return config.model_copy(update={"data": tuple(map(absolute, data))})


def outcome_of(run: Run, metrics: dict[str, float]) -> RunOutcome:
    """Return what a training command gives back."""
    folder = run.folder
    shown = f"{table(metrics)}\n{folder.pictures}" if run.writes else ""
    return RunOutcome(shown, path=folder.path, metrics=metrics)
