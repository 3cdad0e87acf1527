"""The run folder: everything about one run, in one place.

settings.yaml, environment.json, log.txt, metrics.jsonl, checkpoints/last.pt, weights.safetensors, model.json,
pictures/. A folder that already holds something is never written to, except to go on with the same run.
"""

import json
import logging
import os
from collections.abc import Collection, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TypeVar

import yaml
from lightning_fabric import Fabric
from pydantic import ValidationError

from occfeat.atomic import LOCK, lock_folder, write_text_atomic
from occfeat.errors import RunError
from occfeat.runs.card import CARD, ENVIRONMENT, command_of, read_environment
from occfeat.runs.environment import describe_environment
from occfeat.settings.layers import explain
from occfeat.settings.strict import Strict
from occfeat.settings.yaml_file import read_yaml

logger = logging.getLogger(__name__)
Config = TypeVar("Config", bound=Strict)

UNBORN = {LOCK, ENVIRONMENT, f".{ENVIRONMENT}.partial", ".settings.yaml.partial"}
"""All there is of a run that was killed before it could be resumed."""

KINDS = {"pretrain": ("PretrainConfig", "pretraining"), "finetune": ("FinetuneConfig", "fine-tuning")}
"""The commands whose runs can be continued: their settings, and how a run is called."""


class Run:
    """An open run folder; use it as a context manager, so that its lock and log are released.

    Args:
        path: The folder.
        command: Name of the command the run belongs to.
        lock: What holds the folder's lock. None in all but the first of several processes: they only know
            the folder.
    """

    def __init__(self, path: Path, command: str, lock: ExitStack | None = None) -> None:
        self.path = path
        self.command = command
        self.writes = lock is not None
        self._lock = lock or ExitStack()
        self._level = logging.NOTSET
        self._log = _LogFile(path / "log.txt", delay=True)
        self._log.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(message)s"))

    @classmethod
    def start(
        cls, path: Path, command: str, config: Strict, fabric: Fabric, fingerprint: str, *, resume: bool
    ) -> "Run":
        """Create a run, or reopen an interrupted one, in the first process; the others wait for it."""
        if not fabric.is_global_zero:
            run = cls(path, command)
        elif resume:
            run = cls.reopen(path, command, fingerprint)
        else:
            run = cls.create(path, command, config, fingerprint=fingerprint)
        fabric.barrier()
        return run

    @classmethod
    def create(cls, path: Path, command: str, config: Strict, *, fingerprint: str) -> "Run":
        """Start a run in a new or empty folder and write down how it was started.

        Raises:
            RunError: The folder holds something already, is in use or cannot be written.
        """
        require_free(path, command)  # so that a folder of something else does not even get a lock
        make_folder(path)
        with ExitStack() as held:
            held.enter_context(lock_folder(path))
            require_free(path, command)  # another process may have been faster
            environment = json.dumps(describe_environment(command, fingerprint), indent=2) + "\n"
            write_text_atomic(path / ENVIRONMENT, environment)
            text = settings_text(config)
            write_text_atomic(path / "settings.yaml", text)  # last: from now on it can be resumed
            return cls(path, command, held.pop_all())

    @classmethod
    def reopen(cls, path: Path, command: str, fingerprint: str | None = None) -> "Run":
        """Open the folder of an interrupted run to go on with it.

        Raises:
            RunError: It is no run of this command, its data set has changed since, or it is in use.
        """
        environment = read_environment(path)
        if environment.get("command") != command:
            raise RunError(
                f"{path} is a run of `{environment.get('command')}`, not of `{command}`.",
                hint=f"Use `occfeat {environment.get('command')} --resume {path}`.",
            )
        if fingerprint is not None and environment.get("data_fingerprint") != fingerprint:
            raise RunError(
                f"The tables of the data set have changed since {path} was started.",
                hint="Restore them, or start a new run in another folder.",
            )
        if (path / CARD).is_file():
            logger.info("The training of %s is finished; pictures and figures after it are made again.", path)
        lock = ExitStack()
        lock.enter_context(lock_folder(path))
        return cls(path, command, lock)

    def __enter__(self) -> "Run":
        if not self.writes:
            return self
        package = logging.getLogger("occfeat")
        package.addHandler(self._log)
        self._level = package.level
        package.setLevel(self._level or logging.INFO)  # in Python nobody may have set one
        return self

    def __exit__(self, *_: object) -> None:
        if not self.writes:
            return
        logging.getLogger("occfeat").removeHandler(self._log)
        logging.getLogger("occfeat").setLevel(self._level)
        self._log.close()
        self._lock.close()

    @property
    def settings_file(self) -> Path:
        """The complete settings, which can be used as `--config`."""
        return self.path / "settings.yaml"

    @property
    def checkpoint_file(self) -> Path:
        """What a killed run goes on from."""
        return self.path / "checkpoints" / "last.pt"

    @property
    def metrics_file(self) -> Path:
        """One JSON object per line."""
        return self.path / "metrics.jsonl"

    @property
    def pictures(self) -> Path:
        """Folder of the pictures, made when it is asked for."""
        folder = self.path / "pictures"
        folder.mkdir(exist_ok=True)
        return folder


class _LogFile(logging.FileHandler):
    """A log that a full disk cannot stop; what cannot do without the disk will say so."""

    def handleError(self, record: logging.LogRecord) -> None:  # noqa: N802 - logging's name
        """Go on without this line."""


def settings_text(config: Strict) -> str:
    """Settings as YAML that reads back to the same settings."""
    return yaml.safe_dump(config.model_dump(mode="json"), sort_keys=False)


def read_settings(path: Path, kind: type[Config]) -> Config:
    """Settings of a run.

    Raises:
        RunError: The folder holds no settings.
        SettingsError: They do not fit this version.
    """
    file = path / "settings.yaml"
    if not file.is_file():
        raise RunError(f"{path} is not a run folder: it holds no settings.yaml.", hint="Check the path.")
    try:
        return kind.model_validate(read_yaml(file))
    except ValidationError as error:
        _require_settings_of(path, kind)
        hint = "Restore the file from a copy, or start a new run in another folder."
        message = f"{file} does not hold valid settings:"
        raise explain(kind, error, message=message, hint=hint) from error


def _require_settings_of(path: Path, kind: type[Strict]) -> None:
    """Refuse a run whose settings are those of another command."""
    command = command_of(path)
    settings, name = KINDS.get(command or "", (kind.__name__, ""))
    if settings != kind.__name__:
        raise RunError(
            f"{path} is a {name} run.", hint=f"Go on with it by `occfeat {command} --resume {path}`."
        )


def require_free(path: Path, command: str) -> None:
    """Refuse to start a run in a folder that holds something, but for a run that ended before it began.

    Raises:
        RunError: It does; the hint names the two ways out.
    """
    require_writable(path)
    way_on = f"Go on with the run in it by `occfeat {command} --resume {path}`, or choose another --out."
    hint = way_on if command_of(path) == command else "Choose another --out."
    require_empty(path, hint=hint, but=UNBORN)


def require_empty(path: Path, *, hint: str, but: Collection[str] = ()) -> None:
    """Refuse to write into a folder that holds something, before anything is loaded; makes nothing.

    Raises:
        RunError: It does, by another name than some that may be there; or it cannot be made or written.
    """
    require_writable(path)
    with _folder_errors(path):
        if path.is_dir() and any(file.name not in but for file in path.iterdir()):
            raise RunError(f"The folder {path} is not empty.", hint=hint)


def require_writable(path: Path) -> None:
    """Refuse a folder that cannot be made or written, as far as that can be told without making it.

    Raises:
        RunError: It cannot.
    """
    with _folder_errors(path):
        nearest = next(folder for folder in (path, *path.parents) if folder.exists())
        if not nearest.is_dir():
            raise RunError(f"{nearest} is a file, not a folder.", hint="Choose another --out.")
        if not os.access(nearest, os.W_OK):
            made = "" if nearest == path else f"The folder {path} cannot be made: "
            hint = "Check its rights, or choose another --out."
            raise RunError(f"{made}{nearest} cannot be written.", hint=hint)


def make_folder(path: Path) -> None:
    """Make a folder with those above it, unless it is there.

    Raises:
        RunError: It cannot be made.
    """
    with _folder_errors(path):
        path.mkdir(parents=True, exist_ok=True)


@contextmanager
def _folder_errors(path: Path) -> Iterator[None]:
    """Say what the system has against a folder."""
    try:
        yield
    except OSError as error:
        message = f"The folder {path} cannot be made or written: {error.strerror or error}."
        raise RunError(message, hint="Check the folders above it, or choose another --out.") from error
