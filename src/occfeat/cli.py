"""The command line. Imports no torch until a command runs, so that `--help` answers at once."""

import argparse
import contextlib
import errno
import io
import logging
import re
import sys
import traceback
from collections.abc import Iterable, Sequence
from itertools import takewhile
from pathlib import Path
from typing import TYPE_CHECKING, get_origin, get_type_hints

from pydantic import ValidationError
from pydantic.fields import FieldInfo

from occfeat.commands.layers import base_layer
from occfeat.commands.table import COMMANDS, Command, load
from occfeat.errors import Interrupted, OccFeatError, SettingsError, closest, did_you_mean
from occfeat.machine.interrupt import sigterm_like_ctrl_c
from occfeat.machine.launcher import find_launched, leave_out_nonsense
from occfeat.machine.processor import share_processor, usable_cores
from occfeat.machine.threads import RAISE, explain_refusal, is_refusal, make_do_with_few_threads
from occfeat.runs.folder import RunFolder
from occfeat.settings.commands import FinetuneConfig, PretrainConfig
from occfeat.settings.explain import ABBREVIATIONS, explain_flags, owners
from occfeat.settings.layers import Layer, build_partial, merge
from occfeat.settings.recipes import names_of_recipes
from occfeat.settings.removed import why_removed
from occfeat.settings.strict import EXPERT, Strict
from occfeat.settings.students import KINDS

if TYPE_CHECKING:
    from tyro.constructors import ConstructorRegistry

FULL = (errno.ENOSPC, errno.EDQUOT)
"""Errors of the system that say that a disk or quota is full, which is not a bug."""

FEWER = "Use fewer workers (`--engine.workers 0`, or `--workers 1` where data are written)."
"""What to do if no more processes can be started, beside raising their limit."""

HELP_ALL = "--help-all"
"""Flag that shows expert settings as well."""
INTERRUPTED = 130
"""Exit code after Ctrl-C or SIGTERM, as is the convention of shells."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; return 0 for success, 1 for a bug, 2 for an error of the user, 130 if interrupted."""
    words = list(sys.argv[1:] if arguments is None else arguments)
    _print_in_any_locale()
    if not words or words[0] in ("-h", "--help"):
        _show(_overview())
        return 0
    if words[0] == "--version":
        from importlib.metadata import version

        print(f"occfeat {version('occfeat')}")
        return 0
    debug = "--debug" in words
    _log_to_terminal(debug)
    share_processor()
    leave_out_nonsense()
    try:
        make_do_with_few_threads(usable_cores())
        with sigterm_like_ctrl_c():  # loops that save replace this
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
        print(f"Stopped. Finished work is kept. {_way_on(words[0])}", file=sys.stderr)
        return INTERRUPTED
    except OSError as error:
        if error.errno not in FULL:
            return _report_failure(error)
        print(f"error: {error}\nHint: Free some disk space. {_way_on(words[0])}", file=sys.stderr)
        return 2
    except Exception as error:
        return _report_failure(error)


def _print_in_any_locale() -> None:
    """Escape characters that the terminal's encoding does not have, in place of failing."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


def _is_out_of_memory(error: Exception) -> bool:
    """Return whether memory of the machine or of a GPU ran out, without importing torch."""
    of_torch = type(error).__name__ == "OutOfMemoryError" or "DefaultCPUAllocator" in str(error)
    of_a_library = isinstance(error, ImportError) and "failed to map segment" in str(error)
    of_the_system = isinstance(error, OSError) and error.errno == errno.ENOMEM
    return of_torch or of_a_library or of_the_system or isinstance(error, MemoryError)


def _way_on(name: str) -> str:
    """Return what to do after a command was stopped."""
    again, command = "Give the same command again", COMMANDS.get(name)
    if command is not None and command.resumes:
        settings = RunFolder(Path("RUN")).settings
        return f"Go on with `occfeat {name} --resume RUN` if {settings} exists. {again} if not."
    if command is not None and command.starts_empty:
        return f"{again}; if it says that its folder is not empty, choose another --out."
    return f"{again} to go on."


def _report_failure(error: Exception) -> int:
    """Say that memory or processes ran out, or show the exception that is handled; return the exit code."""
    if is_refusal(error):
        print(f"error: {explain_refusal(error)}\nHint: {FEWER} {RAISE}", file=sys.stderr)
        return 2
    if not _is_out_of_memory(error):
        return _report_bug()
    hint = "Use smaller images (`view.image_size`), a grid with fewer cells or fewer workers."
    if isinstance(error, ImportError):
        hint = "Raise the limit of the address space (`ulimit -v`): libraries alone take gigabytes of it."
    said = str(error).partition("\n")[0]
    print(f"error: Out of memory. {said}\nHint: {hint}", file=sys.stderr)
    return 2


def _report_bug() -> int:
    """Show the exception that is being handled; return the exit code."""
    traceback.print_exc()
    print("error: this is a bug of occfeat; please report it with the lines above.", file=sys.stderr)
    return 1


def _run(name: str, words: list[str]) -> int:
    """Run a command with the words that follow its name; return the exit code."""
    if name not in COMMANDS:
        hint = f"{did_you_mean(name, COMMANDS)}Commands: {', '.join(COMMANDS)}."
        raise SettingsError(f"There is no command {name!r}.", hint=hint)
    command, launched = COMMANDS[name], find_launched()
    if launched and launched.rank and not command.parallel:
        return 0  # the first process does the work of such a command
    if command.positional and words and not words[0].startswith("-"):
        words = [f"--{command.positional}", *words]
    layers, flags = _layer_flags(command).parse_known_args(words)
    if layers.resume is not None and not _asks_help(flags):
        moved, flags = _moved_data(flags)
        _refuse_settings_beside_resume(layers, flags)
        outcome = load(name).resume(layers.resume, data=moved)
    else:
        settings = _parse(name, command, layers, flags)
        outcome = getattr(load(name), command.function or name)(settings)
    if outcome.text:
        _show(outcome.text)
    return int(outcome.exit_code)


def _asks_help(flags: list[str]) -> bool:
    """Return whether flags ask for help instead of a run."""
    return not {"-h", "--help", HELP_ALL}.isdisjoint(flags)


def _moved_data(flags: list[str]) -> tuple[list[Path], list[str]]:
    """Return where the data of a run are now, if `--data` says it, and the other flags."""
    parser = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    parser.add_argument("--data", nargs="+", type=Path, default=[])
    known, others = parser.parse_known_args(flags)
    return known.data, others


def _refuse_settings_beside_resume(layers: argparse.Namespace, flags: list[str]) -> None:
    """Refuse `--resume` together with settings."""
    named = {"--recipe": layers.recipe, "--config": layers.config}
    given = [*(f"{flag} {value}" for flag, value in named.items() if value is not None), *flags]
    if given:
        raise SettingsError(
            f"--resume uses the settings of the run; it cannot take {' '.join(given)}.",
            hint="Start a new run in another folder to change settings. Only --data may be given with it.",
        )


def _show(text: str) -> None:
    """Print a text; the program that reads it, such as `head`, may have ended."""
    with contextlib.suppress(BrokenPipeError):
        print(text)


def _parse(name: str, command: Command, layers: argparse.Namespace, flags: list[str]) -> Strict:
    """Build the settings of a command from all layers."""
    flags = _spread_sizes(flags)
    _refuse_second_set(name, command, flags)
    above = {name: value for name, value in _peek(flags).items() if name in command.settings.model_fields}
    layer = base_layer(command.settings, recipe=layers.recipe, config=layers.config, above=above)
    import tyro

    below = build_partial(command.settings, merge(layer, above), tyro.MISSING)
    if isinstance(below, PretrainConfig | FinetuneConfig):
        _refuse_flags_of_others(flags, below.student.kind)
    return _read_flags(name, command, below, flags)


def _refuse_second_set(name: str, command: Command, flags: list[str]) -> None:
    """Refuse several data sets for a command that takes one."""
    field = command.settings.model_fields.get("data")
    if field is None or get_origin(field.annotation) is tuple or "--data" not in flags:
        return
    given = list(takewhile(lambda word: not word.startswith("-"), flags[flags.index("--data") + 1 :]))
    if len(given) > 1:
        hint = "Choose one with --data. Give the command again for another one."
        raise SettingsError(f"`occfeat {name}` takes one data set, got {len(given)}.", first=given, hint=hint)


def _read_flags(name: str, command: Command, below: Strict, flags: list[str]) -> Strict:
    """Read flags above the settings below them; print help if they ask for it."""
    import tyro

    held = io.StringIO()
    try:
        with contextlib.redirect_stderr(held):
            settings: Strict = tyro.cli(
                command.settings,
                default=below,
                args=["--help" if flag == HELP_ALL else flag for flag in flags],
                prog=f"occfeat {name}",
                description=_description(command),
                config=(tyro.conf.AvoidSubcommands,),  # the kind of the student is known
                registry=_without_experts() if _asks_help(flags) and HELP_ALL not in flags else None,
            )
        return settings
    except BrokenPipeError:  # the program that read --help has ended
        raise SystemExit(0) from None
    except (SystemExit, ValidationError) as stop:
        if (wrong := _wrong_values(stop)) is None:
            for flag in flags:
                if reason := why_removed(_setting_of(flag)):
                    held.write(f"{flag} was removed: {reason}.\n")
                if meant := _meant(flag, command):
                    held.write(f"{flag}: did you mean {meant}?\n")
            raise
        held = io.StringIO()  # tyro shows errors of pydantic unchanged
        raise explain_flags(command.settings, wrong) from wrong
    finally:
        print(held.getvalue(), end="", file=sys.stderr)


def _setting_of(flag: str) -> str:
    """Return the name of the setting of a flag."""
    name = flag.partition("=")[0].removeprefix("--").replace("-", "_")
    section, dot, last = name.rpartition(".")
    return f"{section}{dot}{last.removeprefix('no_')}"


def _meant(flag: str, command: Command) -> str:
    """Return what was probably meant by a flag that tyro does not explain, or an empty string."""
    name, fields = flag.partition("=")[0].removeprefix("--"), command.settings.model_fields
    if not flag.startswith("--") or name.replace("-", "_") in fields:
        return ""
    long = ABBREVIATIONS.get(name.rpartition(".")[2])
    if long is not None and "optim" in fields:
        return f"--optim.{long.replace('_', '-')}"
    layers = {"config": True, "recipe": command.recipes, "resume": command.resumes}
    close = closest(name, [layer for layer, there in layers.items() if there])
    return f"--{close}" if close else ""


def _without_experts() -> "ConstructorRegistry":
    """Return rules by which tyro reads settings without the expert ones, for a shorter help."""
    from tyro.constructors import (
        ConstructorRegistry,
        StructConstructorSpec,
        StructFieldSpec,
        StructTypeInfo,
    )

    registry = ConstructorRegistry()

    @registry.struct_rule
    def shown(info: StructTypeInfo) -> StructConstructorSpec | None:
        """Return the settings of a section that `--help` shows."""
        if not (isinstance(info.type, type) and issubclass(info.type, Strict)):
            return None
        given, hints = info.default, get_type_hints(info.type, include_extras=True)
        fields = tuple(
            StructFieldSpec(
                name,
                hints[name],
                getattr(given, name) if isinstance(given, info.type) else _default(field),
                helptext=field.description,
            )
            for name, field in info.type.model_fields.items()
            if EXPERT not in field.metadata
        )
        return StructConstructorSpec(instantiate=info.type, fields=fields)

    return registry


def _default(field: FieldInfo) -> object:
    """Return the default of a setting, as tyro wants it."""
    import tyro

    return tyro.MISSING if field.is_required() else field.get_default(call_default_factory=True)


def _has_experts(kind: type[Strict]) -> bool:
    """Return whether settings or their sections hold expert ones."""
    return any(
        EXPERT in field.metadata or any(EXPERT in inner.metadata for inner in _fields_of(field))
        for field in kind.model_fields.values()
    )


def _fields_of(section: FieldInfo) -> Iterable[FieldInfo]:
    """Return the settings of a section; none if it is a setting itself."""
    kind = section.annotation
    return kind.model_fields.values() if isinstance(kind, type) and issubclass(kind, Strict) else ()


def _wrong_values(stop: BaseException | None) -> ValidationError | None:
    """Return the invalid values that made the parser of flags stop, if that was the reason."""
    while stop is not None and not isinstance(stop, ValidationError):
        stop = stop.__context__
    return stop


def _layer_flags(command: Command) -> argparse.ArgumentParser:
    """Return a parser of the flags that are not settings."""
    parser = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    parser.set_defaults(recipe=None, config=None, resume=None)
    parser.add_argument("--config", type=Path)
    if command.recipes:
        parser.add_argument("--recipe")
    if command.resumes:
        parser.add_argument("--resume", type=Path)
    return parser


def _spread_sizes(flags: list[str]) -> list[str]:
    """Return flags in which a size is two words: `--image-size 224 400` for `--image-size 224x400`."""
    spread: list[str] = []
    for flag in flags:
        name, _, value = flag.rpartition("=")
        size = re.fullmatch(r"(\d+)x(\d+)", value)
        named = (name or "".join(spread[-1:])).endswith("image-size")
        spread += [*filter(None, (name,)), *size.groups()] if size and named else [flag]
    return spread


def _peek(flags: list[str]) -> Layer:
    """Return the flags on which others depend: the run to start from and the kind of student."""
    parser = argparse.ArgumentParser(add_help=False, allow_abbrev=False, argument_default=argparse.SUPPRESS)
    parser.add_argument("--start", type=lambda path: None if path == "None" else path)
    parser.add_argument("--student.kind", dest="student", type=lambda kind: {"kind": kind})
    return vars(parser.parse_known_args(flags)[0])


def _refuse_flags_of_others(flags: list[str], kind: str) -> None:
    """Refuse flags of another kind of student; the error names both kinds."""
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
    """Return the text above the flags of a command."""
    lines = [(command.settings.__doc__ or "").strip()]
    if command.positional:
        lines.append(f"The {command.positional} can be given first, without its flag.")
    lines.append("--config FILE: settings from a YAML file; flags override it.")
    if command.recipes:
        lines.append(
            f"--recipe NAME: named settings; the file and flags override them: {names_of_recipes()}."
        )
    if "student" in command.settings.model_fields:
        lines.append(f"--student.kind KIND: {', '.join(KINDS)}; each has its own flags, shown below.")
    if command.resumes:
        lines.append("--resume RUN: resume an interrupted run with its settings; --data if the data moved.")
    if _has_experts(command.settings):
        lines.append("--help-all: also show expert settings.")
    return "\n\n".join(lines)


def _overview() -> str:
    """Return the help of `occfeat` itself."""
    lines = ["usage: occfeat COMMAND [OPTIONS]", "", *_wrapped_doc(), "", "commands:"]
    lines += [f"  {name:10} {command.summary}" for name, command in COMMANDS.items()]
    lines += ["", "`occfeat COMMAND --help` lists the settings of a command; `--debug` shows tracebacks."]
    return "\n".join(lines)


def _wrapped_doc() -> list[str]:
    """Return what the program does, in lines."""
    return [
        "Pretrain camera-only bird's-eye-view networks from unlabelled drives: predict the LiDAR's",
        "occupancy and a frozen image model's features, then fine-tune with few labels.",
    ]


def _log_to_terminal(debug: bool) -> None:
    """Show the log of the package on the terminal."""
    handler = logging.StreamHandler()
    handler.setFormatter(logging.Formatter("%(message)s"))
    logger = logging.getLogger("occfeat")
    logger.handlers = [handler]
    logger.setLevel(logging.DEBUG if debug else logging.INFO)
