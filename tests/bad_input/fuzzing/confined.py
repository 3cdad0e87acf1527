"""Runs a reader on spoiled files in a process of its own, and sees what it does besides reading."""

import multiprocessing
import os
import random
import resource
import time
import traceback
import warnings
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from multiprocessing.sharedctypes import Synchronized
from pathlib import Path
from sys import addaudithook
from typing import Any

from occfeat.errors import OccFeatError
from tests.bad_input.fuzzing.mutation import Mutation

HANGS_AFTER_S = 20
"""Wall-clock seconds on one input after which its process is killed; the tests judge processor seconds."""

CHANGES = (
    "os.rename",
    "os.remove",
    "os.mkdir",
    "os.rmdir",
    "os.link",
    "os.symlink",
    "os.truncate",
    "os.chmod",
)
STARTS = (
    "os.system",
    "subprocess.Popen",
    "os.exec",
    "os.posix_spawn",
    "socket.connect",
    "socket.getaddrinfo",
)


@dataclass(frozen=True)
class Target:
    """One kind of file: a valid one at its path, and ways to spoil it."""

    path: Path
    mutations: Sequence[Mutation]


@dataclass(frozen=True)
class Reader:
    """What reads spoiled files: success and `OccFeatError` are fine, everything else is a bug."""

    targets: Sequence[Target]
    read: Callable[[Path], object]
    """Called with the path of the spoiled file."""


@dataclass
class Report:
    """What came of it."""

    inputs: int = 0
    read: int = 0
    refused: int = 0
    failures: Counter[str] = field(default_factory=Counter)
    """What else was raised, and how often."""
    examples: dict[str, str] = field(default_factory=dict)
    """Traceback of the first of each."""
    forbidden: list[str] = field(default_factory=list)
    """Writes outside of the folder, programs and connections."""
    slowest_s: float = 0.0
    """Processor seconds of the slowest input."""
    seconds: float = 0.0
    peak_mb: float = 0.0
    died: str = ""
    """How the process ended if it did not come to its end, and on which input."""

    def __str__(self) -> str:
        return (
            f"{self.inputs} inputs in {self.seconds:.0f} s: {self.read} read, {self.refused} refused, "
            f"{sum(self.failures.values())} failed; slowest {self.slowest_s:.2f} s, "
            f"{self.peak_mb:.0f} MB at the most"
        )


def fuzz(reader: Reader, folder: Path, count: int, seed: int = 0) -> Report:
    """Read `count` spoiled files in a forked process that may write to `folder` only."""
    context = multiprocessing.get_context("fork")
    number: Synchronized[int] = context.Value("q", 0)
    receiver, sender = context.Pipe(duplex=False)
    process = context.Process(target=_child, args=(reader, folder, range(count), seed, number, sender))
    process.start()
    sender.close()
    last, since = -1, time.monotonic()
    while not receiver.poll(0.2):
        if number.value != last:
            last, since = number.value, time.monotonic()
        if time.monotonic() - since > HANGS_AFTER_S:
            process.kill()
            process.join()
            return Report(died=f"hung on input {last}")
    try:
        report: Report = receiver.recv()
    except EOFError:
        process.join()
        return Report(died=f"ended with {process.exitcode} on input {number.value}")
    process.join()
    return report


def spoiled(reader: Reader, originals: dict[Path, bytes], number: int, seed: int) -> tuple[Path, bytes]:
    """The file of an input: which one, and its bytes."""
    draw = random.Random(f"{seed}-{number}")
    target = draw.choice(reader.targets)
    return target.path, draw.choice(target.mutations)(originals[target.path], draw)


def _child(
    reader: Reader, folder: Path, numbers: range, seed: int, at: "Synchronized[int]", sender: Any
) -> None:
    report = Report()
    originals = {target.path: target.path.read_bytes() for target in reader.targets}
    (folder / "here").mkdir(exist_ok=True)
    os.chdir(folder / "here")
    warnings.simplefilter("ignore")
    null = os.open(os.devnull, os.O_WRONLY)
    os.dup2(null, 2)  # log lines of ten thousand errors
    addaudithook(lambda event, args: _watch(event, args, folder, report.forbidden))
    started = time.monotonic()
    for number in numbers:
        at.value = number
        path, content = spoiled(reader, originals, number, seed)
        path.write_bytes(content)
        _read(reader, path, number, report)
        path.write_bytes(originals[path])
    report.inputs, report.seconds = len(numbers), time.monotonic() - started
    report.peak_mb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    sender.send(report)


def _read(reader: Reader, path: Path, number: int, report: Report) -> None:
    started = time.process_time()
    try:
        reader.read(path)
        report.read += 1
    except OccFeatError:
        report.refused += 1
    except BaseException as error:
        where = traceback.extract_tb(error.__traceback__)[-1]
        kind = f"{type(error).__name__} at {Path(where.filename).name}:{where.lineno}: {str(error)[:200]}"
        kind = "".join(" " if letter.isdigit() else letter for letter in kind)
        report.failures[kind] += 1
        report.examples.setdefault(kind, f"input {number}\n{traceback.format_exc(limit=-12)[-3000:]}")
    report.slowest_s = max(report.slowest_s, time.process_time() - started)


def _watch(event: str, args: tuple[Any, ...], folder: Path, forbidden: list[str]) -> None:
    """Note what a reader must not do; an audit hook sees everything that Python itself does."""
    if event == "open":
        path, mode, flags = args
        writes = (flags or 0) & (os.O_WRONLY | os.O_RDWR | os.O_CREAT)
        paths = (path,) if writes or (isinstance(mode, str) and set(mode) & set("wax+")) else ()
    elif event in CHANGES:
        paths = args[:2] if event in ("os.rename", "os.link", "os.symlink") else args[:1]
    else:
        paths = ()
        if event in STARTS:
            forbidden.append(f"{event} {args}"[:200])
    for path in paths:
        if isinstance(path, int) or os.fspath(path) in (os.devnull, os.devnull.encode()):
            continue
        if not Path(os.path.realpath(os.fsdecode(path))).is_relative_to(folder.resolve()):
            forbidden.append(f"{event} {path}"[:200])
