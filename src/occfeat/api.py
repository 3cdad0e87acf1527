"""The commands as Python functions.

Settings are keyword arguments with the names of the command line, such as
`pretrain(data=…, out=…, optim={"epochs": 3})`. Unknown names are errors. They lie above `recipe` and the
settings file `config`. `build_world` needs no torch and is in `api_world.py`.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, TypeVar

from torch import nn

from occfeat.commands import outcome
from occfeat.commands.layers import base_layer
from occfeat.data.index.index import Index
from occfeat.errors import SettingsError
from occfeat.pretraining.objectives.contract import AnyObjective
from occfeat.release.shipped import ShippedModel as ShippedModel
from occfeat.release.shipped import load_model as load_model
from occfeat.settings import commands as settings_of
from occfeat.settings.layers import build, merge
from occfeat.settings.sections import DataConfig
from occfeat.settings.strict import Strict
from occfeat.settings.students import OwnStudentConfig

Config = TypeVar("Config", bound=Strict)
PathLike = str | Path
StudentLike = nn.Module | Strict | dict[str, Any]
"""A module of your own, or settings of a student that is built here."""


def cache(
    data: PathLike,
    out: PathLike,
    *,
    recipe: str | None = None,
    config: PathLike | None = None,
    **settings: Any,
) -> outcome.Outcome:
    """Compute once what the teacher sees, for `pretrain(teacher_cache=…)`; see `CacheConfig`.

    Args:
        data: Dataset folder.
        out: Folder of the cache.
        recipe: Named settings, such as `paper-simplebev-b0`.
        config: YAML file of settings, above the recipe.
        **settings: Fields of `CacheConfig`.
    """
    from occfeat.commands import cache as command

    settings = {"data": data, "out": out, **settings}
    return command.cache(_configured(settings_of.CacheConfig, "cache", settings, recipe, config))


def pretrain(
    *,
    student: StudentLike | None = None,
    objectives: Sequence[AnyObjective] = (),
    recipe: str | None = None,
    config: PathLike | None = None,
    resume: PathLike | None = None,
    **settings: Any,
) -> outcome.RunOutcome:
    """Pretrain a student without labels; see `PretrainConfig` for the settings.

    Args:
        student: Settings of a student, or any module that takes images (B, N, 3, H, W) and `Cameras` to BEV
            features (B, C, X, Y) of the grid, C being its attribute `channels`; it is trained in place.
        objectives: Objectives of your own, learned in addition to those of the settings; see
            `occfeat.pretraining.objectives.contract.Objective`. `resume` needs the same ones.
        recipe: Named settings, such as `paper-simplebev-b0`.
        config: YAML file of settings, above the recipe.
        resume: Run to go on with, instead of settings.
        **settings: Fields of `PretrainConfig`.

    Returns:
        `path`, `weights`, and the last figures as `metrics`.
    """
    from occfeat.commands import pretrain as command

    if resume is not None:
        _require_no_settings(recipe, config, settings, student)
        return command.resume(Path(resume), _own(student), objectives)
    settings |= _student_setting(student)
    configured = _configured(settings_of.PretrainConfig, "pretrain", settings, recipe, config)
    return command.pretrain(configured, _own(student), objectives)


def finetune(
    *,
    student: StudentLike | None = None,
    recipe: str | None = None,
    config: PathLike | None = None,
    resume: PathLike | None = None,
    **settings: Any,
) -> outcome.RunOutcome:
    """Fine-tune a BEV network, pretrained (`start=…`) or not, and evaluate it; see `FinetuneConfig`.

    Args:
        student: Settings of a student, or a module as for `pretrain`, which gets the weights of `start`.
        recipe: Named settings, such as `paper-simplebev-b0`.
        config: YAML file of settings, above the recipe.
        resume: Run to go on with, instead of settings.
        **settings: Fields of `FinetuneConfig`.

    Returns:
        `path`, `weights`, and `metrics` such as `vehicle_iou/visible` (0 to 1, pooled).
    """
    from occfeat.commands import finetune as command

    if resume is not None:
        _require_no_settings(recipe, config, settings, student)
        return command.resume(Path(resume), _own(student))
    settings |= _student_setting(student)
    configured = _configured(settings_of.FinetuneConfig, "finetune", settings, recipe, config)
    return command.finetune(configured, _own(student))


def evaluate(run: PathLike, *, student: nn.Module | None = None, **settings: Any) -> outcome.RunOutcome:
    """Evaluate a fine-tuning run on a split; see `EvaluateConfig`.

    Args:
        run: Fine-tuning run.
        student: The module it fine-tuned, if it was one of your own; its weights are replaced.
        **settings: Fields of `EvaluateConfig`.

    Returns:
        `metrics` by name and protocol, 0 to 1, pooled over the split.
    """
    from occfeat.commands.evaluate import evaluate as command

    return command.evaluate(build(settings_of.EvaluateConfig, {"run": run, **settings}), student)


def analyse(run: PathLike, **settings: Any) -> outcome.RunOutcome:
    """Analyse what the features of a pretraining run mean; see `AnalyseConfig`.

    Args:
        run: Pretraining run, with its checkpoint.
        **settings: Fields of `AnalyseConfig`.

    Returns:
        `path` of `analysis.json` and the pictures, and the main figures as `metrics`.
    """
    from occfeat.commands.evaluate import analyse as command

    return command.analyse(build(settings_of.AnalyseConfig, {"run": run, **settings}))


def write_report(runs: PathLike | Sequence[PathLike], out: PathLike, **settings: Any) -> outcome.Outcome:
    """Write one page about several runs; see `ReportConfig`.

    Args:
        runs: Pretraining and fine-tuning runs, on the same data and grid; or a single one.
        out: HTML file to write.
        **settings: Fields of `ReportConfig`.
    """
    from occfeat.commands import report as command

    named = (runs,) if isinstance(runs, PathLike) else tuple(runs)
    return command.report(build(settings_of.ReportConfig, {"runs": named, "out": out, **settings}))


def predict(run: PathLike, *, student: nn.Module | None = None, **settings: Any) -> outcome.Outcome:
    """Write predictions for a rig file or for key frames of a data set; see `PredictConfig`.

    Args:
        run: Fine-tuning run.
        student: The module it fine-tuned, if it was one of your own; its weights are replaced.
        **settings: Fields of `PredictConfig`.
    """
    from occfeat.commands.deploy import predict as command

    return command.predict(build(settings_of.PredictConfig, {"run": run, **settings}), student)


def export_model(run: PathLike, out: PathLike, **settings: Any) -> outcome.Outcome:
    """Write a fine-tuned network as a file that other programs run; see `ExportConfig`.

    Args:
        run: Fine-tuning run.
        out: File to write, such as `model.onnx`.
        **settings: Fields of `ExportConfig`.
    """
    from occfeat.commands.deploy import export as command

    return command.export(build(settings_of.ExportConfig, {"run": run, "out": out, **settings}))


def convert(checkpoint: PathLike, out: PathLike, **settings: Any) -> outcome.RunOutcome:
    """Make a run folder of a checkpoint that Simple-BEV's authors published; see `ConvertConfig`.

    Args:
        checkpoint: The published file; no code in it is run.
        out: Folder of the run, for `evaluate`, `predict`, `load_model` and `finetune(start=…)`.
        **settings: Fields of `ConvertConfig`.
    """
    from occfeat.commands.deploy import convert as command

    return command.convert(
        build(settings_of.ConvertConfig, {"checkpoint": checkpoint, "out": out, **settings})
    )


def check(data: PathLike, **settings: Any) -> outcome.Outcome:
    """Report everything that is wrong with a data folder; see `CheckConfig`."""
    from occfeat.commands.dataset import check as command

    return command.check(build(settings_of.CheckConfig, {"data": data, **settings}))


def index(data: PathLike, **settings: Any) -> outcome.Outcome:
    """Build the index of a data folder and say what it holds; see `IndexConfig`."""
    from occfeat.commands.dataset import index as command

    return command.index(build(settings_of.IndexConfig, {"data": data, **settings}))


def view(data: PathLike, out: PathLike, **settings: Any) -> outcome.Outcome:
    """Draw one key frame as a picture; see `ViewerConfig`."""
    from occfeat.commands.dataset import view as command

    return command.view(build(settings_of.ViewerConfig, {"data": data, "out": out, **settings}))


def demo(**settings: Any) -> outcome.Outcome:
    """Run the whole method on a street world it builds; see `DemoConfig`.

    In a script, call it below `if __name__ == "__main__":`, as `build_world`.
    """
    from occfeat.commands import demo as command

    return command.demo(build(settings_of.DemoConfig, settings))


def doctor() -> outcome.Outcome:
    """Say what this installation can do."""
    from occfeat.commands import doctor as command

    return command.doctor(settings_of.DoctorConfig())


def open_dataset(data: PathLike, version: str | None = None) -> Index:
    """Open the index of a data folder, building it on first use."""
    return Index.open(DataConfig(root=Path(data), version=version))


def _configured(
    kind: type[Config],
    command: str,
    settings: dict[str, Any],
    recipe: str | None,
    config: PathLike | None,
) -> Config:
    file = None if config is None else Path(config)
    return build(kind, merge(base_layer(command, recipe=recipe, config=file, above=settings), settings))


def _own(student: StudentLike | None) -> nn.Module | None:
    """The user's module, if the student is one."""
    return student if isinstance(student, nn.Module) else None


def _student_setting(student: StudentLike | None) -> dict[str, Any]:
    """What is written down of a student."""
    if isinstance(student, nn.Module):
        student = OwnStudentConfig(name=type(student).__qualname__)
    return {} if student is None else {"student": student}


def _require_no_settings(
    recipe: str | None, config: PathLike | None, settings: dict[str, Any], student: StudentLike | None
) -> None:
    given = (recipe, config, None if isinstance(student, nn.Module) else student)
    if settings or any(value is not None for value in given):
        hint = "Start a new run in another folder to change settings."
        raise SettingsError("`resume` goes on with the settings of the run.", hint=hint)
