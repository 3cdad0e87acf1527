"""What can be wrong with the folder of a world, and what is said when a build is stopped."""

import errno
import os
from pathlib import Path

import pytest
from filelock import FileLock

from occfeat import cli
from occfeat.cli import main
from occfeat.errors import RunError
from occfeat.machine import processes
from occfeat.machine.processes import start_helpers
from streetworld import build
from streetworld.build import SCENES, build_world
from streetworld.config import WorldConfig
from tests.support.small_world import SMALL

TINY = {**SMALL, "key_frames": 1, "image_size": (32, 48), "lights": ("noon",)}


def test_a_folder_in_which_another_process_builds_is_left_alone(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "world"
    (out / SCENES).mkdir(parents=True)
    with FileLock(out / SCENES / ".lock"):
        assert main(["world", "--out", str(out), "--scenes", "1"]) == 2
    assert f"Another process is writing to {out}" in capsys.readouterr().err
    assert [path.name for path in out.iterdir()] == [SCENES]


@pytest.mark.parametrize("below", [".", "below"])
def test_a_file_in_place_of_the_folder_is_named(
    below: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "taken").write_text("mine")
    out = tmp_path / "taken" / below
    assert main(["world", "--out", str(out), "--scenes", "1"]) == 2
    said = capsys.readouterr().err
    assert str(out) in said
    assert "Hint: Cho" in said or "Hint: Check the rights" in said
    assert (tmp_path / "taken").read_text() == "mine"


@pytest.mark.parametrize("call", ["mkdir", "read_bytes"])
def test_a_folder_without_rights_is_named(call: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise PermissionError(13, "Permission denied")

    out = tmp_path / "world"
    if call == "read_bytes":
        out.mkdir()
        (out / "world.json").touch()
    monkeypatch.setattr(Path, call, refuse)
    with pytest.raises(RunError, match=r"cannot be used: .*Permission denied") as caught:
        build_world(WorldConfig(out=out, workers=1, **TINY))
    assert str(out) in str(caught.value)


@pytest.mark.parametrize("workers", [1, 2])
def test_a_file_that_cannot_be_written_is_named(workers: int, tmp_path: Path) -> None:
    config = WorldConfig(out=tmp_path / "world", workers=workers, **TINY)
    config.out.mkdir()
    (config.out / "world.json").write_bytes(build._description(config))
    (config.out / "samples").write_text("in the way")
    with pytest.raises(RunError, match=r"samples/CAM_FRONT/street-val-000\d.* could not be written"):
        build_world(config)
    assert not (config.out / "v1.0-street").exists()


def test_a_machine_without_locks_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(processes, "why_alone", lambda: "no lock can be made in /dev/shm (Read-only)")
    with pytest.raises(RunError, match="No helper processes can be started: no lock can be made") as caught:
        processes.require_helpers()
    assert "--workers 1" in caught.value.hint


def test_helpers__are_given_what_fits_a_pipe(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A helper may die before it has read it, and then nobody empties the pipe."""
    given: list[object] = []

    def start(_: int, *prepare: object) -> None:
        given.extend(prepare)
        raise KeyboardInterrupt

    monkeypatch.setattr(build, "require_helpers", lambda: None)
    monkeypatch.setattr(build, "start_helpers", start)
    with pytest.raises(KeyboardInterrupt):
        build_world(WorldConfig(out=tmp_path / "world", workers=2, **TINY))
    assert given == []


def test_helpers__that_a_limit_of_processes_refuses_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(_: object) -> None:
        raise BlockingIOError(errno.EAGAIN, os.strerror(errno.EAGAIN))

    monkeypatch.setattr(processes.SPAWN.Process, "start", refuse)
    with pytest.raises(RunError, match="No more threads or processes can be started") as caught:
        processes.require_helpers()
    assert "--workers 1" in caught.value.hint
    assert "ulimit -u" in caught.value.hint


def test_a_helper_that_is_killed_is_no_bug() -> None:
    helpers = start_helpers(1)
    with pytest.raises(RunError, match=r"helper process was killed.*\n.*fewer `workers`"), helpers as pool:
        pool.submit(os._exit, 3).result()


def test_a_rig_that_cannot_be__is_refused_before_a_folder_is_made(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rig, out = tmp_path / "rig.json", tmp_path / "world"
    camera = '"position_m": [1, 0, 1.4], "yaw_deg": 10, "view_deg": 80'
    rig.write_text(f'{{"cameras": [{{"channel": "CAM_A", "size": [NaN, 1], {camera}}}]}}')
    assert main(["world", "--out", str(out), "--rig", str(rig)]) == 2
    said = capsys.readouterr().err
    assert "cameras.0.size.0" in said
    assert "Traceback" not in said
    assert not out.exists()


@pytest.mark.parametrize(
    ("command", "way_on"),
    [
        ("world", "Give the same command again to go on."),
        ("demo", "Give the same command again to go on."),
        ("pretrain", "--resume RUN` if RUN/settings.yaml exists. Give the same command again if not."),
        ("predict", "again; if it says that its folder is not empty, choose another --out."),
        ("evaluate", "again; if it says that its folder is not empty, choose another --out."),
    ],
)
@pytest.mark.parametrize("stop", [KeyboardInterrupt(), OSError(28, "No space left on device")])
def test_a_stopped_command__says_how_it_goes_on(
    stop: BaseException,
    command: str,
    way_on: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    def run(*_: object) -> int:
        raise stop

    monkeypatch.setattr(cli, "_run", run)
    assert main([command]) == (130 if isinstance(stop, KeyboardInterrupt) else 2)
    said = capsys.readouterr().err
    assert way_on in said
    assert ("--resume" in said) == (command == "pretrain")
