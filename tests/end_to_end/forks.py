"""Commands in processes that can be stopped in any way: forks of the test process, which start at once."""

import multiprocessing
import os
import resource
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from multiprocessing.process import BaseProcess
from pathlib import Path

from occfeat.cli import main

PATIENCE_S = 300


class Command:
    """A command that runs in a process of its own; what it prints goes to a file."""

    def __init__(self, words: list[str], output: Path, environment: Mapping[str, str] | None = None) -> None:
        self.output = output
        context = multiprocessing.get_context("fork")
        self.process: BaseProcess = context.Process(target=_child, args=(words, output, environment or {}))
        self.process.start()
        assert self.process.pid is not None
        self.pid: int = self.process.pid

    def wait(self) -> int:
        """Its exit code, once it has ended."""
        self.process.join(PATIENCE_S)
        if self.process.exitcode is None:
            os.kill(self.pid, signal.SIGKILL)
            raise AssertionError(f"still running: {self.printed}")
        return self.process.exitcode

    @property
    def printed(self) -> str:
        return self.output.read_text()


def _child(words: list[str], output: Path, environment: Mapping[str, str]) -> None:
    os.setsid()
    os.environ.update(environment)
    stream = output.open("w", buffering=1)
    sys.stdout = sys.stderr = stream
    os.dup2(stream.fileno(), 2)
    sys.exit(main(words))


def one(words: list[str], folder: Path) -> list[Command]:
    """A command in one process."""
    return [Command(words, folder / "printed.txt")]


def free_port() -> int:
    """A port of this machine that nobody uses."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def ranks(words: list[str], folder: Path, *, machines: int = 1) -> list[Command]:
    """The same command in two processes of one run, as torchrun would start them on one or two machines."""
    port = str(free_port())
    shared = {"WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port, "TORCHELASTIC_RUN_ID": port}
    each = 2 // machines
    shared["LOCAL_WORLD_SIZE"] = str(each)
    of_rank = [
        {"RANK": str(rank), "LOCAL_RANK": str(rank % each), "GROUP_RANK": str(rank // each)}
        for rank in range(2)
    ]
    return [Command(words, folder / f"rank{rank}.txt", shared | own) for rank, own in enumerate(of_rank)]


def run_ranks(words: list[str], folder: Path, *, machines: int = 1) -> str:
    """Have two processes end well; gives what both printed."""
    commands = ranks(words, folder, machines=machines)
    assert [command.wait() for command in commands] == [0, 0], [command.printed for command in commands]
    return "".join(command.printed for command in commands)


def wait_for_rows(run: Path, rows: int, commands: list[Command]) -> None:
    """Wait until a run has some rows of metrics, or a process has ended."""
    file = run / "metrics.jsonl"
    wait_until(lambda: file.exists() and file.read_bytes().count(b"\n") >= rows, commands)


def wait_until(reached: Callable[[], bool], commands: list[Command]) -> None:
    """Wait for something, or until a process has ended."""
    deadline = time.monotonic() + PATIENCE_S
    while not reached() and all(command.process.exitcode is None for command in commands):
        assert time.monotonic() < deadline, commands[0].printed
        time.sleep(0.002)


@contextmanager
def small_disk(folder: Path, megabytes: int) -> Iterator[bool]:
    """A disk of its own at a folder; gives False where none can be mounted."""
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", f"size={megabytes}m", "tmpfs", str(folder)]
    mounted = shutil.which("mount") is not None and subprocess.run(mount, capture_output=True).returncode == 0
    try:
        yield mounted
    finally:
        if mounted:
            subprocess.run(["umount", str(folder)], check=True)


@contextmanager
def full(disk: Path, leave_bytes: int) -> Iterator[None]:
    """A disk with hardly a byte left."""
    ballast = disk / "ballast"
    with ballast.open("wb", buffering=0) as file:
        for size in (1 << 16, 1 << 12, 1):
            try:
                while file.write(bytes(size)) == size:
                    pass
            except OSError:
                continue
        file.truncate(max(file.tell() - leave_bytes, 0))
    yield
    ballast.unlink()


def forbid_large_files(command: Command, largest_bytes: int) -> None:
    """Let a running process write no file beyond a size, as a quota does."""
    resource.prlimit(command.pid, resource.RLIMIT_FSIZE, (largest_bytes, largest_bytes))
