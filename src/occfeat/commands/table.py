"""The table of all commands: name, settings and module. Imports no torch."""

import importlib
from dataclasses import dataclass
from types import ModuleType

from occfeat.machine.extras import require_extra
from occfeat.settings import commands as settings_of
from occfeat.settings.strict import Strict
from streetworld.config import WorldConfig


@dataclass(frozen=True)
class Command:
    """One command: its settings, where they can come from, and what to do after it was stopped."""

    settings: type[Strict]
    module: str
    """Module below `occfeat.commands`; its function has the name of the command, unless told otherwise."""
    function: str | None = None
    """Name of its function, if Python does not allow that of the command."""
    recipes: bool = False
    """Whether it accepts `--recipe`."""
    resumes: bool = False
    """Whether it accepts `--resume`."""
    starts_empty: bool = False
    """It writes into a folder that must be empty, and may leave files there when it is stopped."""
    parallel: bool = False
    """Whether several processes can share its work."""
    positional: str | None = None
    """Setting that may come first, without its flag."""
    extra: str | None = None
    """Extra that it needs."""

    @property
    def summary(self) -> str:
        """First line of the settings' docstring."""
        return (self.settings.__doc__ or "").splitlines()[0]


COMMANDS = {
    settings_of.CheckConfig.command: Command(settings_of.CheckConfig, "dataset.check", positional="data"),
    settings_of.IndexConfig.command: Command(settings_of.IndexConfig, "dataset.index", positional="data"),
    settings_of.ImportConfig.command: Command(
        settings_of.ImportConfig, "dataset.import_recordings", "import_recordings", positional="recordings"
    ),
    settings_of.CacheConfig.command: Command(
        settings_of.CacheConfig, "cache.cache", recipes=True, parallel=True
    ),
    settings_of.PretrainConfig.command: Command(
        settings_of.PretrainConfig, "training.pretrain", recipes=True, resumes=True, parallel=True
    ),
    settings_of.FinetuneConfig.command: Command(
        settings_of.FinetuneConfig, "training.finetune", recipes=True, resumes=True, parallel=True
    ),
    settings_of.EvaluateConfig.command: Command(
        settings_of.EvaluateConfig, "evaluate.evaluate", starts_empty=True, parallel=True, positional="run"
    ),
    settings_of.PredictConfig.command: Command(
        settings_of.PredictConfig, "deploy.predict", starts_empty=True, positional="run"
    ),
    settings_of.AnalyseConfig.command: Command(
        settings_of.AnalyseConfig, "evaluate.analyse", starts_empty=True, positional="run", extra="analysis"
    ),
    settings_of.ExportConfig.command: Command(
        settings_of.ExportConfig, "deploy.export", positional="run", extra="export"
    ),
    settings_of.ReportConfig.command: Command(
        settings_of.ReportConfig, "report", positional="runs", extra="report"
    ),
    settings_of.ConvertConfig.command: Command(
        settings_of.ConvertConfig, "deploy.convert", starts_empty=True, positional="checkpoint"
    ),
    settings_of.ViewerConfig.command: Command(
        settings_of.ViewerConfig, "dataset.view", recipes=True, positional="data"
    ),
    "world": Command(WorldConfig, "world"),
    settings_of.DemoConfig.command: Command(settings_of.DemoConfig, "demo", extra="demo"),
    settings_of.DoctorConfig.command: Command(settings_of.DoctorConfig, "doctor.doctor"),
}
"""All commands by name, in the order in which a user meets them."""


def name_of(kind: type[Strict]) -> str:
    """Return the name of the command that has these settings."""
    return next(name for name, command in COMMANDS.items() if command.settings is kind)


def load(name: str) -> ModuleType:
    """Import the module of a command, and with it torch.

    Raises:
        MissingExtraError: The command needs packages that are not installed.
    """
    command = COMMANDS[name]
    if command.extra is not None:
        require_extra(command.extra, what=f"`occfeat {name}`")
    return importlib.import_module(f"occfeat.commands.{command.module}")
