"""A run that is open: its folder is locked, and what is logged goes into its log file."""

import json
import logging
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from lightning_fabric import Fabric

from occfeat.errors import RunError
from occfeat.machine.atomic import lock_folder, write_text_atomic
from occfeat.runs.environment import Fingerprint, describe_environment, fingerprints_of
from occfeat.runs.folder import RunFolder
from occfeat.runs.output import make_folder, require_free
from occfeat.runs.saved_settings import settings_text
from occfeat.settings.strict import Strict

logger = logging.getLogger(__name__)


class Run:
    """An open run; a context manager that releases the lock and the log in the end.

    Args:
        path: The run folder.
        command: Name of the command whose run it is.
        lock: Holds the folder's lock. None in all but the first of several processes, which write nothing.
    """

    def __init__(self, path: Path, command: str, lock: ExitStack | None = None) -> None:
        self.folder = RunFolder(path)
        self.command = command
        self.writes = lock is not None
        self._lock = lock or ExitStack()
        self._level = logging.NOTSET
        self._log = _LogFile(self.folder.log, delay=True, encoding="utf-8")
        self._log.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(message)s"))

    @classmethod
    def start(
        cls,
        path: Path,
        command: str,
        config: Strict,
        fabric: Fabric,
        fingerprint: Fingerprint,
        *,
        resume: bool,
    ) -> "Run":
        """Create or reopen a run in the first process, while the others wait."""
        if not fabric.is_global_zero:
            run = cls(path, command)
        elif resume:
            run = cls.reopen(path, command, fingerprint)
        else:
            run = cls.create(path, command, config, fingerprint=fingerprint)
        fabric.barrier()
        return run

    @classmethod
    def create(cls, path: Path, command: str, config: Strict, *, fingerprint: Fingerprint) -> "Run":
        """Start a run in a new or empty folder and write down how it was started.

        Raises:
            RunError: The folder is not empty, is in use or cannot be written.
        """
        require_free(path, command)  # before a folder of something else gets a lock file
        make_folder(path)
        folder = RunFolder(path)
        environment = json.dumps(describe_environment(command, fingerprint), indent=2) + "\n"
        with ExitStack() as held:
            held.enter_context(lock_folder(path))
            require_free(path, command)  # another process may have been faster
            write_text_atomic(folder.environment, environment)
            write_text_atomic(folder.settings, settings_text(config))  # last: now it can be resumed
            return cls(path, command, held.pop_all())

    @classmethod
    def reopen(cls, path: Path, command: str, fingerprint: Fingerprint) -> "Run":
        """Open an interrupted run to go on with it.

        Raises:
            RunError: It is not a run of this command, its data set has changed, or it is in use.
        """
        folder = RunFolder(path)
        environment = folder.read_environment()
        if environment.get("command") != command:
            raise RunError(
                f"{path} is a run of `{environment.get('command')}`, not of `{command}`.",
                hint=f"Use `occfeat {environment.get('command')} --resume {path}`.",
            )
        _require_same_data(path, environment, fingerprint)
        if folder.card.is_file():
            logger.info("The training of %s is finished; what follows it is repeated.", path)
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


def _require_same_data(path: Path, environment: dict[str, Any], fingerprint: Fingerprint) -> None:
    """Refuse data sets whose tables have changed; they may have moved, but not changed their order."""
    then = list(fingerprints_of(environment).values())
    now = fingerprints_of({"data_fingerprint": fingerprint})
    if then == list(now.values()):
        return
    if len(then) != len(now):
        what = f"Expected the {len(then)} data set(s) that {path} was started with, got {len(now)}."
        raise RunError(what, hint="Restore its settings, or start a new run in another folder.")
    changed = [name for (name, new), old in zip(now.items(), then, strict=True) if new != old]
    named = f" {', '.join(changed)}" if changed[0] else ""
    raise RunError(
        f"The tables of the data set{named} have changed since {path} was started.",
        hint="Restore them, or start a new run in another folder.",
    )


class _LogFile(logging.FileHandler):
    """A log file that a full disk cannot stop; what needs the disk raises its own error."""

    def handleError(self, record: logging.LogRecord) -> None:  # noqa: N802 - logging's name
        """Ignore that this line could not be written."""
