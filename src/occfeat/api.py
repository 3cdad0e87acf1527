"""The commands as Python functions.

Settings are keyword arguments with the names of the command line, such as
`pretrain(data=…, out=…, optim={"epochs": 3})`. Unknown names are errors. They lie above `recipe` and the
settings file `config`. Importing this module does not import torch, which takes seconds: the processes that
build a world import what their script imports.
"""

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from occfeat.commands.layers import base_layer
from occfeat.commands.outcome import Outcome, ResultsOutcome, RunOutcome
from occfeat.commands.table import COMMANDS, load, name_of
from occfeat.errors import SettingsError
from occfeat.settings import commands as settings_of
from occfeat.settings.layers import build, merge
from occfeat.settings.sections import DataConfig
from occfeat.settings.strict import Strict
from occfeat.settings.students import OwnStudentConfig
from streetworld.config import WorldConfig

if TYPE_CHECKING:
    from torch.nn import Module

    from occfeat.data.index.index import Index
    from occfeat.pretraining.objectives.contract import AnyObjective

    Student = Module
    """A network of the user."""
    DataIndex = Index
    """What `open_dataset` returns."""
    Objective = AnyObjective
    """An objective of the user."""
else:
    Student = DataIndex = Objective = Any

Config = TypeVar("Config", bound=Strict)
PathLike = str | Path
StudentLike = Student | Strict | dict[str, Any]
"""A module of your own, or settings of a student that is built here."""


def cache(
    data: PathLike,
    out: PathLike,
    *,
    recipe: str | None = None,
    config: PathLike | None = None,
    **settings: Any,
) -> Outcome:
    """Compute the teacher's features, or pack the student's images, once for training; see `CacheConfig`.

    Args:
        data: Dataset folder.
        out: Folder of the cache.
        recipe: Named settings, such as `paper-simplebev-b0`.
        config: YAML file of settings, above the recipe.
        **settings: Fields of `CacheConfig`.
    """
    settings = {"data": data, "out": out, **settings}
    return _run(_configured(settings_of.CacheConfig, settings, recipe, config))


def pretrain(
    *,
    student: StudentLike | None = None,
    objectives: Sequence[Objective] = (),
    recipe: str | None = None,
    config: PathLike | None = None,
    resume: PathLike | None = None,
    **settings: Any,
) -> RunOutcome:
    """Pretrain a student without labels; see `PretrainConfig` for the settings.

    Args:
        student: Settings of a student, or any module that takes images (B, N, 3, H, W) and `Cameras` to BEV
            features (B, C, X, Y) of the grid, C being its attribute `channels`; it is trained in place.
        objectives: Objectives of your own, learned in addition to those of the settings; see
            `occfeat.pretraining.objectives.contract.Objective`. `resume` needs the same ones.
        recipe: Named settings, such as `paper-simplebev-b0`.
        config: YAML file of settings, above the recipe.
        resume: Run to resume, instead of settings; `data` says where they are now, if they have moved.
        **settings: Fields of `PretrainConfig`.

    Returns:
        `path`, `weights`, and the last `metrics`.
    """
    if resume is not None:
        data = _moved_data(settings)
        _require_no_settings(recipe, config, settings, student)
        return load(settings_of.PretrainConfig.command).resume(
            Path(resume), _own(student), objectives, data=data
        )
    settings |= _student_setting(student)
    configured = _configured(settings_of.PretrainConfig, settings, recipe, config)
    return _run(configured, _own(student), objectives)


def finetune(
    *,
    student: StudentLike | None = None,
    recipe: str | None = None,
    config: PathLike | None = None,
    resume: PathLike | None = None,
    **settings: Any,
) -> RunOutcome:
    """Fine-tune a BEV network, pretrained (`start=…`) or not, and evaluate it; see `FinetuneConfig`.

    Args:
        student: Settings of a student, or a module as for `pretrain`, which gets the weights of `start`.
        recipe: Named settings, such as `paper-simplebev-b0`.
        config: YAML file of settings, above the recipe.
        resume: Run to resume, instead of settings; `data` says where they are now, if they have moved.
        **settings: Fields of `FinetuneConfig`.

    Returns:
        `path`, `weights`, and `metrics` such as `vehicle_iou/visible` (0 to 1, pooled).
    """
    if resume is not None:
        data = _moved_data(settings)
        _require_no_settings(recipe, config, settings, student)
        return load(settings_of.FinetuneConfig.command).resume(Path(resume), _own(student), data=data)
    settings |= _student_setting(student)
    return _run(_configured(settings_of.FinetuneConfig, settings, recipe, config), _own(student))


def evaluate(run: PathLike, *, student: Student | None = None, **settings: Any) -> ResultsOutcome:
    """Evaluate a fine-tuning run on a split; see `EvaluateConfig`.

    Args:
        run: Fine-tuning run.
        student: The module it fine-tuned, if it was one of your own; its weights are replaced.
        **settings: Fields of `EvaluateConfig`.

    Returns:
        `path` of the results and pictures, and `metrics` by name and protocol, 0 to 1, pooled over the split.
    """
    return _run(build(settings_of.EvaluateConfig, {"run": run, **settings}), student)


def analyse(run: PathLike, **settings: Any) -> ResultsOutcome:
    """Analyse the features of a pretraining run; see `AnalyseConfig`.

    Args:
        run: Pretraining run, with its checkpoint.
        **settings: Fields of `AnalyseConfig`.

    Returns:
        `path` of the results and pictures, and the main `metrics`.
    """
    return _run(build(settings_of.AnalyseConfig, {"run": run, **settings}))


def write_report(runs: PathLike | Sequence[PathLike], out: PathLike, **settings: Any) -> Outcome:
    """Write an HTML page that compares runs; see `ReportConfig`.

    Args:
        runs: Pretraining and fine-tuning runs, on the same data and grid; or a single one.
        out: HTML file to write.
        **settings: Fields of `ReportConfig`.
    """
    named = (runs,) if isinstance(runs, PathLike) else tuple(runs)
    return _run(build(settings_of.ReportConfig, {"runs": named, "out": out, **settings}))


def predict(run: PathLike, *, student: Student | None = None, **settings: Any) -> Outcome:
    """Write predictions for a rig file or for key frames of a data set; see `PredictConfig`.

    Args:
        run: Fine-tuning run.
        student: The module it fine-tuned, if it was one of your own; its weights are replaced.
        **settings: Fields of `PredictConfig`.
    """
    return _run(build(settings_of.PredictConfig, {"run": run, **settings}), student)


def export_model(run: PathLike, out: PathLike, **settings: Any) -> Outcome:
    """Write a fine-tuned network as a file that other programs run; see `ExportConfig`.

    Args:
        run: Fine-tuning run.
        out: File to write, such as `model.onnx`.
        **settings: Fields of `ExportConfig`.
    """
    return _run(build(settings_of.ExportConfig, {"run": run, "out": out, **settings}))


def convert(checkpoint: PathLike, out: PathLike, **settings: Any) -> RunOutcome:
    """Convert a checkpoint of Simple-BEV's authors to a run folder; see `ConvertConfig`.

    Args:
        checkpoint: The published file. Code in it is not run.
        out: Folder of the run, for `evaluate`, `predict`, `load_model` and `finetune(start=…)`.
        **settings: Fields of `ConvertConfig`.
    """
    return _run(build(settings_of.ConvertConfig, {"checkpoint": checkpoint, "out": out, **settings}))


def check(data: PathLike, **settings: Any) -> Outcome:
    """Report all problems of a data folder; see `CheckConfig`."""
    return _run(build(settings_of.CheckConfig, {"data": data, **settings}))


def index(data: PathLike, **settings: Any) -> Outcome:
    """Build the index of a data folder and report a summary; see `IndexConfig`."""
    return _run(build(settings_of.IndexConfig, {"data": data, **settings}))


def import_recordings(recordings: PathLike | Sequence[PathLike], out: PathLike, **settings: Any) -> Outcome:
    """Write bags, Waymo Open v2 or KITTI raw as a data set in nuScenes format; see `ImportConfig`.

    It starts processes that import the calling script, so call it below `if __name__ == "__main__":` there.

    Args:
        recordings: Bags or folders, each a recording of its own; or a single one.
        out: Folder of the data set.
        **settings: Fields of `ImportConfig`.
    """
    named = (recordings,) if isinstance(recordings, PathLike) else tuple(recordings)
    return _run(build(settings_of.ImportConfig, {"recordings": named, "out": out, **settings}))


def view(data: PathLike, out: PathLike, **settings: Any) -> Outcome:
    """Draw one key frame as a picture, or a scene as a recording (`.rrd`); see `ViewerConfig`."""
    return _run(build(settings_of.ViewerConfig, {"data": data, "out": out, **settings}))


def demo(**settings: Any) -> Outcome:
    """Run the whole method on a generated street world; see `DemoConfig`.

    In a script, call it below `if __name__ == "__main__":`, as `build_world`.
    """
    return _run(build(settings_of.DemoConfig, settings))


def doctor(**settings: Any) -> Outcome:
    """Report the installation, or test a device against the CPU; see `DoctorConfig`."""
    return _run(build(settings_of.DoctorConfig, settings))


def build_world(out: PathLike, **settings: Any) -> Outcome:
    """Build a procedural street world in nuScenes format; see `WorldConfig`.

    It starts processes that import the calling script, so call it below `if __name__ == "__main__":` there.

    Args:
        out: Folder of the world.
        **settings: Fields of `WorldConfig`.
    """
    return _run(build(WorldConfig, {"out": out, **settings}))


def open_dataset(data: PathLike, version: str | None = None) -> DataIndex:
    """Open the index of a data folder; build it on first use."""
    from occfeat.data.index.index import Index

    return Index.open(DataConfig(root=Path(data), version=version))


def _run(settings: Strict, *given: object) -> Any:
    """Run the command of these settings, with the modules and objectives of the user that it takes."""
    name = name_of(type(settings))
    return getattr(load(name), COMMANDS[name].function or name)(settings, *given)


def _configured(
    kind: type[Config], settings: dict[str, Any], recipe: str | None, config: PathLike | None
) -> Config:
    """Build the settings of a command from all layers."""
    file = None if config is None else Path(config)
    return build(kind, merge(base_layer(kind, recipe=recipe, config=file, above=settings), settings))


def _own(student: StudentLike | None) -> Student | None:
    """Return the student if it is a module of the user."""
    torch = sys.modules.get("torch")  # imported by whoever made a module
    return student if torch is not None and isinstance(student, torch.nn.Module) else None


def _student_setting(student: StudentLike | None) -> dict[str, Any]:
    """Return what the settings say of a student."""
    if (own := _own(student)) is not None:
        student = OwnStudentConfig(name=type(own).__qualname__)
    return {} if student is None else {"student": student}


def _moved_data(settings: dict[str, Any]) -> list[Path]:
    """Take `data` out of settings beside `resume`: where the data sets are now."""
    data = settings.pop("data", ())
    return [Path(data)] if isinstance(data, PathLike) else [Path(one) for one in data]


def _require_no_settings(
    recipe: str | None, config: PathLike | None, settings: dict[str, Any], student: StudentLike | None
) -> None:
    """Refuse settings beside `resume`."""
    given = (recipe, config, student if _own(student) is None else None)
    if settings or any(value is not None for value in given):
        hint = "Start a new run in another folder to change settings."
        raise SettingsError("`resume` uses the settings of the run.", hint=hint)
