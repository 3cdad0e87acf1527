"""The command line. Nothing here imports torch, so that `--help` answers at once."""

import argparse
import contextlib
import errno
import importlib
import io
import logging
import re
import sys
import traceback
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType

from pydantic import ValidationError

from occfeat.commands.layers import base_layer
from occfeat.errors import Interrupted, OccFeatError, SettingsError, closest, did_you_mean
from occfeat.settings import commands as commands
from occfeat.settings.layers import (
    ABBREVIATIONS,
    Layer,
    build_partial,
    explain_flags,
    merge,
    owners,
)
from occfeat.settings.recipes import names_of_recipes
from occfeat.settings.strict import Strict
from occfeat.settings.students import KINDS
from streetworld.config import WorldConfig

FULL = (errno.ENOSPC, errno.EDQUOT)
"""A disk or quota is full: whatever was being written, it is not a bug."""

INTERRUPTED = 130
"""Exit code after Ctrl-C or SIGTERM, the shells' convention for it."""


@dataclass(frozen=True)
class Command:
    """One command: its settings, where they can come from, and what becomes of it when it is stopped."""

    settings: type[Strict]
    module: str
    """Where it is, below `occfeat.commands`; the function is called like the command."""
    recipes: bool = False
    resumes: bool = False
    starts_empty: bool = False
    """It writes into a folder that must be empty, and may leave files there when it is stopped."""
    positional: str | None = None

    @property
    def summary(self) -> str:
        """First line of the settings' docstring."""
        return (self.settings.__doc__ or "").splitlines()[0]


COMMANDS = {
    "check": Command(commands.CheckConfig, "dataset.check", positional="data"),
    "index": Command(commands.IndexConfig, "dataset.index", positional="data"),
    "cache": Command(commands.CacheConfig, "cache", recipes=True),
    "pretrain": Command(commands.PretrainConfig, "pretrain", recipes=True, resumes=True),
    "finetune": Command(commands.FinetuneConfig, "finetune", recipes=True, resumes=True),
    "evaluate": Command(commands.EvaluateConfig, "evaluate.evaluate", starts_empty=True, positional="run"),
    "predict": Command(commands.PredictConfig, "deploy.predict", starts_empty=True, positional="run"),
    "analyse": Command(commands.AnalyseConfig, "evaluate.analyse", starts_empty=True, positional="run"),
    "export": Command(commands.ExportConfig, "deploy.export", positional="run"),
    "report": Command(commands.ReportConfig, "report.report", positional="runs"),
    "convert": Command(commands.ConvertConfig, "deploy.convert", starts_empty=True, positional="checkpoint"),
    "view": Command(commands.ViewerConfig, "dataset.view", recipes=True, positional="data"),
    "world": Command(WorldConfig, "world"),
    "demo": Command(commands.DemoConfig, "demo.demo"),
    "doctor": Command(commands.DoctorConfig, "doctor"),
}


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; gives 0 if all is well, 1 for a bug, 2 for the user's input, 130 if interrupted."""
    words = list(sys.argv[1:] if arguments is None else arguments)
    if not words or words[0] in ("-h", "--help"):
        _show(_overview())
        return 0
    if words[0] == "--version":
        from importlib.metadata import version

        print(f"occfeat {version('occfeat')}")
        return 0
    debug = "--debug" in words
    _log_to_terminal(debug)
    try:
        return _run(words[0], [word for word in words[1:] if word != "--debug"])
    except OccFeatError as error:
        if debug:
            traceback.print_exc()
        print(f"error: {error}", file=sys.stderr)
        return 2
    except Interrupted as stop:
        print(stop, file=sys.stderr)
        return INTERRUPTED
    except KeyboardInterrupt:
        print(f"Stopped at once. What was finished stays. {_way_on(words[0])}", file=sys.stderr)
        return INTERRUPTED
    except OSError as error:
        if error.errno not in FULL:
            return _report_bug()
        print(f"error: {error}\nHint: Free some disk space. {_way_on(words[0])}", file=sys.stderr)
        return 2
    except Exception as error:
        if not _is_out_of_memory(error):
            return _report_bug()
        hint = (
            "It takes less with smaller images (`view.image_size`), fewer cells of the grid or fewer workers."
        )
        said = str(error).partition("\n")[0]
        print(f"error: Out of memory. {said}\nHint: {hint}", file=sys.stderr)
        return 2


def _is_out_of_memory(error: Exception) -> bool:
    """Of the machine or of a GPU, as Python and torch say it; torch is not imported to know its errors."""
    of_torch = type(error).__name__ == "OutOfMemoryError" or "DefaultCPUAllocator" in str(error)
    return of_torch or isinstance(error, MemoryError)


def _way_on(name: str) -> str:
    """What to do after a command was stopped."""
    again, command = "Give the same command again", COMMANDS.get(name)
    if command is not None and command.resumes:
        return f"Go on with `occfeat {name} --resume RUN` if RUN holds settings.yaml. {again} if not."
    if command is not None and command.starts_empty:
        return f"{again}; if it says that its folder is not empty, choose another --out."
    return f"{again} to go on."


def _report_bug() -> int:
    """Show the exception that is being handled; gives the exit code."""
    traceback.print_exc()
    print("error: this is a bug of occfeat; please report it with the lines above.", file=sys.stderr)
    return 1


def _run(name: str, words: list[str]) -> int:
    if name not in COMMANDS:
        hint = f"{did_you_mean(name, COMMANDS)}Commands: {', '.join(COMMANDS)}."
        raise SettingsError(f"There is no command {name!r}.", hint=hint)
    command = COMMANDS[name]
    if command.positional and words and not words[0].startswith("-"):
        words = [f"--{command.positional}", *words]
    layers, flags = _layer_flags(command).parse_known_args(words)
    asks_help = "--help" in flags or "-h" in flags
    if layers.resume is not None and not asks_help:
        _refuse_settings_beside_resume(layers, flags)
        outcome = _module(command).resume(layers.resume)
    else:
        settings = _parse(name, command, layers, flags)
        outcome = getattr(_module(command), name)(settings)
    _show(outcome.text)
    return int(outcome.exit_code)


def _refuse_settings_beside_resume(layers: argparse.Namespace, flags: list[str]) -> None:
    named = {"--recipe": layers.recipe, "--config": layers.config}
    given = [*(f"{flag} {value}" for flag, value in named.items() if value is not None), *flags]
    if given:
        raise SettingsError(
            f"--resume goes on with the settings of the run; it cannot take {' '.join(given)}.",
            hint="Start a new run in another folder to change settings.",
        )


def _show(text: str) -> None:
    """Print what a command says; the program that reads it, such as `head`, may have ended."""
    with contextlib.suppress(BrokenPipeError):
        print(text)


def _module(command: Command) -> ModuleType:
    # Only the module of the command that runs is imported, and with it torch.
    return importlib.import_module(f"occfeat.commands.{command.module}")


def _parse(name: str, command: Command, layers: argparse.Namespace, flags: list[str]) -> Strict:
    flags = _spread_sizes(flags)
    above = {name: value for name, value in _peek(flags).items() if name in command.settings.model_fields}
    layer = base_layer(name, recipe=layers.recipe, config=layers.config, above=above)
    import tyro

    below = build_partial(command.settings, merge(layer, above), tyro.MISSING)
    if isinstance(below, commands.PretrainConfig | commands.FinetuneConfig):
        _refuse_flags_of_others(flags, below.student.kind)
    return _read_flags(name, command, below, flags)


def _read_flags(name: str, command: Command, below: Strict, flags: list[str]) -> Strict:
    """Settings of flags above those below them."""
    import tyro

    held = io.StringIO()
    try:
        with contextlib.redirect_stderr(held):
            settings: Strict = tyro.cli(
                command.settings,
                default=below,
                args=flags,
                prog=f"occfeat {name}",
                description=_description(command),
                config=(tyro.conf.AvoidSubcommands,),  # the student's kind is settled; its flags are all
            )
        return settings
    except BrokenPipeError:  # the program that read --help has ended
        raise SystemExit(0) from None
    except (SystemExit, ValidationError) as stop:
        if (wrong := _wrong_values(stop)) is None:
            for flag in flags:
                if meant := _meant(flag, command):
                    held.write(f"{flag}: did you mean {meant}?\n")
            raise
        held = io.StringIO()  # tyro shows errors of pydantic as they are
        raise explain_flags(command.settings, wrong) from wrong
    finally:
        print(held.getvalue(), end="", file=sys.stderr)


def _meant(flag: str, command: Command) -> str:
    """What was probably meant by a flag if not one of those that tyro knows and suggests, or nothing."""
    name, fields = flag.partition("=")[0].removeprefix("--"), command.settings.model_fields
    if not flag.startswith("--") or name.replace("-", "_") in fields:
        return ""
    long = ABBREVIATIONS.get(name.rpartition(".")[2])
    if long is not None and "optim" in fields:
        return f"--optim.{long.replace('_', '-')}"
    layers = {"config": True, "recipe": command.recipes, "resume": command.resumes}
    close = closest(name, [layer for layer, there in layers.items() if there])
    return f"--{close}" if close else ""


def _wrong_values(stop: BaseException | None) -> ValidationError | None:
    """What made the parser of flags stop, if it was values that cannot be used."""
    while stop is not None and not isinstance(stop, ValidationError):
        stop = stop.__context__
    return stop


def _layer_flags(command: Command) -> argparse.ArgumentParser:
    """The flags that are not settings themselves."""
    parser = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    parser.set_defaults(recipe=None, config=None, resume=None)
    parser.add_argument("--config", type=Path)
    if command.recipes:
        parser.add_argument("--recipe")
    if command.resumes:
        parser.add_argument("--resume", type=Path)
    return parser


def _spread_sizes(flags: list[str]) -> list[str]:
    """Take sizes that are written as one word apart: `--image-size 224x400` is `--image-size 224 400`."""
    spread: list[str] = []
    for flag in flags:
        name, _, value = flag.rpartition("=")
        size = re.fullmatch(r"(\d+)x(\d+)", value)
        named = (name or "".join(spread[-1:])).endswith("image-size")
        spread += [*filter(None, (name,)), *size.groups()] if size and named else [flag]
    return spread


def _peek(flags: list[str]) -> Layer:
    """What flags say that decide about others: the run to start from, and the kind of student."""
    parser = argparse.ArgumentParser(add_help=False, allow_abbrev=False, argument_default=argparse.SUPPRESS)
    parser.add_argument("--start", type=lambda path: None if path == "None" else path)
    parser.add_argument("--student.kind", dest="student", type=lambda kind: {"kind": kind})
    return vars(parser.parse_known_args(flags)[0])


def _refuse_flags_of_others(flags: list[str], kind: str) -> None:
    """Refuse flags of another kind of student, naming both kinds."""
    prefix = "--student."
    for flag in flags:
        name = flag.removeprefix(prefix).split("=")[0].removeprefix("no-").replace("-", "_")
        others = owners(name)
        if flag.startswith(prefix) and others and kind not in others:
            raise SettingsError(
                f"{flag} is a setting of {', '.join(others)}, but this student is {kind}.",
                hint=f"Add --student.kind {others[0]}, or leave {flag} out.",
            )


def _description(command: Command) -> str:
    lines = [(command.settings.__doc__ or "").strip()]
    if command.positional:
        lines.append(f"The {command.positional} may come first, without its flag.")
    lines.append("--config FILE: settings from a YAML file, below the flags.")
    if command.recipes:
        lines.append(f"--recipe NAME: named settings, below the file: {names_of_recipes()}.")
    if "student" in command.settings.model_fields:
        lines.append(f"--student.kind KIND: {', '.join(KINDS)}; each has its own flags, shown below.")
    if command.resumes:
        lines.append("--resume RUN: go on with an interrupted run, with its own settings.")
    return "\n\n".join(lines)


def _overview() -> str:
    lines = ["usage: occfeat COMMAND [OPTIONS]", "", *_wrapped_doc(), "", "commands:"]
    lines += [f"  {name:10} {command.summary}" for name, command in COMMANDS.items()]
    lines += ["", "`occfeat COMMAND --help` lists all settings of a command; `--debug` shows tracebacks."]
    return "\n".join(lines)


def _wrapped_doc() -> list[str]:
    return [
        "Pretrain camera-only bird's-eye-view networks from unlabelled drives: predict the LiDAR's",
        "occupancy and the features a frozen image model sees there; then fine-tune with few labels.",
    ]


def _log_to_terminal(debug: bool) -> None:
    handler = logging.StreamHandler()
    handler.setFormatter(logging.Formatter("%(message)s"))
    logger = logging.getLogger("occfeat")
    logger.handlers = [handler]
    logger.setLevel(logging.DEBUG if debug else logging.INFO)
