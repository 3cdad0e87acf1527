"""A run that is stopped again and again, in every way, ends like one that never was.

`OCCFEAT_TEST_KILLS` is how often each run is stopped; the default keeps this short.
"""

import json
import os
import random
import signal
import time
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from occfeat.cli import main
from occfeat.runs.checkpoint import load_checkpoint
from tests.end_to_end.forks import (
    Command,
    forbid_large_files,
    full,
    one,
    ranks,
    small_disk,
    wait_for_rows,
    wait_until,
)
from tests.support.small_runs import Flags

KILLS = int(os.environ.get("OCCFEAT_TEST_KILLS", "1"))
EPOCHS = 2 * KILLS + 2
STEPS = 3 * EPOCHS // 2
"""Batches of two from three key frames."""
LOG_EVERY = 2
LOGGED = sorted({*range(LOG_EVERY, STEPS + 1, LOG_EVERY), STEPS})
Start = Callable[[list[str], Path], list[Command]]
"""Starts the processes of a command; what they print goes into a folder."""
Stop = Callable[[list[Command], random.Random], list[int]]
"""Stops running processes in some way; gives the exit codes that must follow."""


Words = Callable[..., list[str]]


@pytest.fixture(scope="module")
def words(flags: Flags) -> Words:
    """Flags of a run in which all that is random is drawn, with a checkpoint after every step."""

    def of(run: Path, *more: str) -> list[str]:
        all_random = ["--augment.bev-flip", "--augment.brightness", "0.2", "--loss.queries", "1"]
        often = ["--engine.checkpoint-minutes", "0", "--engine.log-every", str(LOG_EVERY)]
        return flags("pretrain", run, *all_random, *often, "--optim.epochs", str(EPOCHS), *more)

    return of


@pytest.fixture(scope="module")
def whole(words: Words, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run that nothing stopped."""
    run = tmp_path_factory.mktemp("whole") / "run"
    assert main(words(run)) == 0
    return run


@pytest.fixture(scope="module")
def whole_of_two(words: Words, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of two processes that nothing stopped."""
    folder = tmp_path_factory.mktemp("two")
    commands = ranks(words(folder / "run", "--engine.devices", "2"), folder)
    assert [command.wait() for command in commands] == [0, 0], commands[0].printed
    return folder / "run"


def rows_of(run: Path) -> list[dict[str, float]]:
    rows = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    return [{name: value for name, value in row.items() if not name.startswith("time/")} for row in rows]


def require_whole_files(run: Path) -> int:
    """Whatever was stopped: what there is can be read and belongs together; gives the checkpoint's step."""
    if (run / "weights.safetensors").exists():
        load_file(run / "weights.safetensors")
    if not (run / "checkpoints" / "last.pt").exists():
        return 0
    saved = load_checkpoint(run / "checkpoints" / "last.pt")
    kept = (run / "metrics.jsonl").read_bytes()[: saved.metrics_bytes]
    assert len(kept) == saved.metrics_bytes
    steps = [json.loads(line)["step"] for line in kept.splitlines()]
    assert steps == [step for step in LOGGED if step <= saved.step]
    return saved.step


def checkpoint_time(run: Path) -> int:
    """When the last checkpoint was written."""
    file = run / "checkpoints" / "last.pt"
    return file.stat().st_mtime_ns if file.exists() else 0


def require_same(run: Path, whole: Path) -> None:
    """Weights bit for bit, and the same rows, none missing and none twice."""
    resumed, uninterrupted = (load_file(folder / "weights.safetensors") for folder in (run, whole))
    assert resumed.keys() == uninterrupted.keys()
    assert all(torch.equal(resumed[name], uninterrupted[name]) for name in resumed)
    assert rows_of(run) == rows_of(whole)
    assert [row["step"] for row in rows_of(run)] == LOGGED
    assert load_checkpoint(run / "checkpoints" / "last.pt").step == STEPS


def soak(
    first: list[str], run: Path, stop: Stop, folder: Path, *, start: Start = one, early: bool = True
) -> None:
    """Start a run, stop it at random moments and resume it, `KILLS` times, and then let it end.

    Args:
        first: The command that starts the run.
        run: Its folder.
        stop: What stops it.
        folder: For what is printed.
        start: How its processes are started.
        early: It may be stopped at any time, and not only after a step.
    """
    draw, words = random.Random(KILLS), first
    for _ in range(KILLS):
        done = require_whole_files(run)
        before = checkpoint_time(run)
        commands = start(words, folder)
        if early:
            wait_for_rows(run, done // LOG_EVERY + draw.randrange(2), commands)
        else:
            wait_until(lambda before=before: checkpoint_time(run) != before, commands)  # type: ignore[misc]
        time.sleep(draw.random() * 0.05)
        codes = stop(commands, draw)
        assert [command.wait() for command in commands] == codes, [command.printed for command in commands]
        assert not any("Traceback" in command.printed for command in commands)
        if (run / "settings.yaml").exists():
            words = ["pretrain", "--resume", str(run)]
    commands = start(words, folder)
    assert [command.wait() for command in commands] == [0] * len(commands), commands[0].printed


def kill(commands: list[Command], _: random.Random) -> list[int]:
    os.kill(commands[0].pid, signal.SIGKILL)
    return [-signal.SIGKILL]


def ask(commands: list[Command], _: random.Random) -> list[int]:
    os.kill(commands[0].pid, signal.SIGTERM)
    return [130]


def limit(commands: list[Command], draw: random.Random) -> list[int]:
    forbid_large_files(commands[0], draw.randrange(50_000))
    return [2]


def kill_one(commands: list[Command], draw: random.Random) -> list[int]:
    """Kill one of two; the other ends by itself, and says that it was not its fault."""
    killed = draw.randrange(2)
    os.kill(commands[killed].pid, signal.SIGKILL)
    codes = [2, 2]
    codes[killed] = -signal.SIGKILL
    commands[1 - killed].wait()
    assert "Another process of the run has ended" in commands[1 - killed].printed
    return codes


def ask_one(commands: list[Command], draw: random.Random) -> list[int]:
    """Ask one of two to stop: both save and stop after the same step."""
    os.kill(commands[draw.randrange(2)].pid, signal.SIGTERM)
    return [130, 130]


@pytest.mark.parametrize("stop", [kill, ask, limit])
def test_stopped_at_random__ends_the_same(words: Words, whole: Path, tmp_path: Path, stop: Stop) -> None:
    soak(words(tmp_path / "run"), tmp_path / "run", stop, tmp_path, early=stop != ask)
    require_same(tmp_path / "run", whole)


def test_full_disk__ends_the_same(words: Words, whole: Path, tmp_path: Path) -> None:
    with small_disk(tmp_path / "disk", megabytes=120) as mounted:
        if not mounted:
            pytest.skip("no disk can be mounted here; a limit on the size of files stands in for it")
        run = tmp_path / "disk" / "run"

        def fill(commands: list[Command], draw: random.Random) -> list[int]:
            with full(tmp_path / "disk", leave_bytes=draw.choice((0, 100, 10_000, 20_000_000))):
                return [commands[0].wait() and 2]

        soak(words(run), run, fill, tmp_path)
        require_same(run, whole)


@pytest.mark.parametrize("stop", [kill_one, ask_one])
def test_one_of_two_processes__ends_the_same(
    words: Words, whole_of_two: Path, tmp_path: Path, stop: Stop
) -> None:
    run = tmp_path / "run"
    soak(words(run, "--engine.devices", "2"), run, stop, tmp_path, start=ranks, early=False)
    require_same(run, whole_of_two)


@pytest.fixture(scope="module")
def cache_words(folder: Path, teacher_weights: Path) -> Words:
    """Flags of a teacher cache of six key frames, each a file of its own."""

    def of(out: Path, *more: str) -> list[str]:
        flags = ["cache", "--data", folder, "--split", "all", "--shard-size", 1, "--batch-size", 1]
        flags += ["--teacher.name", "test_vit", "--teacher.weights", teacher_weights, "--engine.workers", 0]
        flags += ["--teacher.image-size", 64, 96, "--engine.device", "cpu", "--out", out]
        return [*map(str, flags), *more]

    return of


@pytest.fixture(scope="module")
def whole_cache(cache_words: Words, tmp_path_factory: pytest.TempPathFactory) -> Path:
    cache = tmp_path_factory.mktemp("caches") / "cache"
    assert main(cache_words(cache)) == 0
    return cache


def shards_of(cache: Path) -> dict[str, bytes]:
    return {file.name: file.read_bytes() for file in cache.glob("shard-*.safetensors")}


def test_cache_killed_at_random__holds_whole_files_only(
    cache_words: Words, whole_cache: Path, tmp_path: Path
) -> None:
    draw, killed, number = random.Random(KILLS), 0, 0
    while killed < KILLS:
        cache = tmp_path / str(number)
        command = Command(cache_words(cache), tmp_path / "printed.txt")
        had = len(shards_of(cache))
        while command.process.exitcode is None and len(shards_of(cache)) == had:
            time.sleep(0.001)
        time.sleep(draw.random() * 0.05)
        os.kill(command.pid, signal.SIGKILL)
        killed += command.wait() == -signal.SIGKILL
        assert shards_of(cache).items() <= shards_of(whole_cache).items()
        number += len(shards_of(cache)) == len(shards_of(whole_cache))
    assert Command(cache_words(cache), tmp_path / "printed.txt").wait() == 0
    assert shards_of(cache) == shards_of(whole_cache)


def test_cache_of_two_processes__stops_in_both_when_one_is_asked(
    cache_words: Words, whole_cache: Path, tmp_path: Path
) -> None:
    cache, draw = tmp_path / "cache", random.Random(KILLS)
    for _ in range(min(KILLS, 2)):
        commands = ranks(cache_words(cache, "--engine.devices", "2"), tmp_path)
        had = len(shards_of(cache))
        while len(shards_of(cache)) == had and commands[0].process.exitcode is None:
            time.sleep(0.001)
        os.kill(commands[draw.randrange(2)].pid, signal.SIGTERM)
        assert [command.wait() for command in commands] == [130, 130], commands[0].printed
        assert all("Repeat the `occfeat cache` command" in command.printed for command in commands)
    commands = ranks(cache_words(cache, "--engine.devices", "2"), tmp_path)
    assert [command.wait() for command in commands] == [0, 0], commands[0].printed
    assert shards_of(cache) == shards_of(whole_cache)
