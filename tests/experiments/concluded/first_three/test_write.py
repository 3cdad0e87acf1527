"""What `--write` of the first three experiments replaces, keeps and refuses."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.experiments.scripts import FOLDER, load

plans = load("concluded.first_three.plan")
report = load("concluded.first_three.report")

MARKED = "before\n<!-- first_three: begin -->\nold\n<!-- first_three: end -->\nafter\n"
needs_bash = pytest.mark.skipif(shutil.which("bash") is None, reason="needs bash")


@pytest.fixture
def tree(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of what is committed, as far as --write touches it."""
    here = tmp_path / "tree" / "experiments"
    (here / "ledgers").mkdir(parents=True)
    (here.parent / "docs").mkdir()
    for file in (here / "LOG.md", here.parent / "docs" / "results.md"):
        file.write_text(MARKED)
    shutil.copyfile(plans.LEDGER, here / "ledgers" / "first_three.jsonl")
    monkeypatch.setattr(report, "EXPERIMENTS", here)
    monkeypatch.setattr(report, "LEDGER", here / "ledgers" / "first_three.jsonl")
    return here.parent


def write_result(runs: Path, tuning: object, value: float) -> None:
    file = runs / tuning.name / "evaluation-test" / "results.json"  # type: ignore[attr-defined]
    file.parent.mkdir(parents=True)
    file.write_text(json.dumps({"metrics": dict.fromkeys(report.METRICS, value)}))


def contents(tree: Path) -> dict[str, bytes]:
    return {str(file): file.read_bytes() for file in tree.rglob("*") if file.is_file()}


def run(monkeypatch: pytest.MonkeyPatch, runs: Path, *words: str) -> None:
    monkeypatch.setattr(sys, "argv", ["report", str(runs / "street"), str(runs), *words])
    report.main()


def refused(monkeypatch: pytest.MonkeyPatch, runs: Path, *words: str) -> None:
    with pytest.raises(SystemExit) as stopped:
        run(monkeypatch, runs, *words)
    assert stopped.value.code == 2


def test_write__keeps_old_rows_and_replaces_those_of_equal_key(
    tree: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = plans.read_ledger(report.LEDGER)
    redone = plans.Tuning("branch", 1, "gentle", "1%", 3)
    write_result(tmp_path, redone, 0.5)
    run(monkeypatch, tmp_path, "--arms", "branch", "--seeds", "1", "--write")
    after = plans.read_ledger(report.LEDGER)
    assert after == {**before, redone: dict.fromkeys(report.METRICS, 0.5)}
    assert list(after) == list(before)
    texts = [(tree / name).read_text() for name in ("experiments/LOG.md", "docs/results.md")]
    assert [text.count("of the labels") for text in texts] == [9, 1]
    assert all(text.startswith("before\n") and text.endswith("\nafter\n") for text in texts)
    pictures = {file.name: file.stat().st_size for file in (tree / "docs" / "pictures").iterdir()}
    assert pictures.keys() == report.PICTURES.keys()
    assert min(pictures.values()) > 10_000


def test_write__takes_a_seed_more_when_it_is_whole(
    tree: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    old = plans.read_ledger(report.LEDGER)
    new = [plans.Tuning(**{**vars(one), "seed": 2}) for one in old if one.seed == 1]
    for tuning in new[1:]:
        write_result(tmp_path, tuning, 0.5)
    before = contents(tree)
    refused(monkeypatch, tmp_path, "--seeds", "2", "--write")
    assert f"1 results are neither in RUNS nor in first_three.jsonl, such as {new[0].name}" in (
        capsys.readouterr().err
    )
    assert contents(tree) == before
    write_result(tmp_path, new[0], 0.5)
    run(monkeypatch, tmp_path, "--seeds", "2", "--write")
    assert plans.read_ledger(report.LEDGER).keys() == {*old, *new}


def test_write__is_refused_for_another_split(
    tree: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    before = contents(tree)
    refused(monkeypatch, tmp_path / "runs", "--split", "val", "--write")
    assert "--write needs --split test" in capsys.readouterr().err
    assert contents(tree) == before
    assert not (tmp_path / "runs").exists()


def test_check__refuses_what_could_not_be_written_and_does_nothing(
    tree: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before, runs = contents(tree), tmp_path / "runs"
    for words in (("--seeds", "0"), ("--modes", "full", "frozen"), ("--seeds", "2"), ("--from-ledger",)):
        run(monkeypatch, runs, *words, "--write", "--check")
    run(monkeypatch, runs, "--split", "val", "--check")
    refused(monkeypatch, runs, "--split", "val", "--write", "--check")
    refused(monkeypatch, runs, "--split", "val", "--from-ledger", "--check")
    refused(monkeypatch, runs, "--seeds", "2", "--modes", "full", "--write", "--check")
    report.LEDGER.unlink()
    before.pop(str(report.LEDGER))
    run(monkeypatch, runs, "--write", "--check")
    refused(monkeypatch, runs, "--modes", "full", "frozen", "--write", "--check")
    assert contents(tree) == before
    assert not runs.exists()


def test_write__writes_nothing_where_a_file_lacks_its_marks(
    tree: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tree / "docs" / "results.md").write_text("no marks")
    before = contents(tree)
    with pytest.raises(ValueError, match="substring"):
        run(monkeypatch, tmp_path, "--from-ledger", "--modes", "full", "--shares", "10%", "--write")
    assert contents(tree) == before


def test_report__without_write_shows_what_there_is_and_touches_nothing(
    tree: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    before = contents(tree)
    with pytest.raises(SystemExit, match="No results of the split test"):
        run(monkeypatch, tmp_path)
    write_result(tmp_path, plans.Tuning("both", 2, "frozen", "10%", 0), 0.5)
    run(monkeypatch, tmp_path, "--seeds", "2")
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith("| 10% of the labels, linear head")
    assert lines[2:] == ["| both, λ 0.01 (the paper's) | 50.0 | 50.0 | 50.0 | - | - | - |"]
    assert contents(tree) == before


def sh(runs: Path, path: Path, *words: str) -> "subprocess.CompletedProcess[str]":
    """Run run.sh with the programs of a folder before all others."""
    environment = {**os.environ, "PATH": f"{path}{os.pathsep}{os.environ['PATH']}"}
    command = ["bash", str(FOLDER / "concluded" / "first_three" / "run.sh"), str(runs), *words]
    return subprocess.run(command, env=environment, capture_output=True, text=True, check=False)


def recorders(folder: Path, log: Path) -> Path:
    """Programs that note what they are told, instead of doing it."""
    folder.mkdir()
    for name in ("python", "occfeat"):
        program = folder / name
        program.write_text(f'#!/bin/sh\n[ "$1" = -c ] && echo 1 && exit\necho {name} "$@" >> "{log}"\n')
        program.chmod(0o755)
    return folder


@needs_bash
def test_script__passes_everything_on(tmp_path: Path) -> None:
    log, runs = tmp_path / "log", tmp_path / "runs"
    words = ("--from-ledger", "--seeds", "2", "3", "--write", "--modes", "full")
    ended = sh(runs, recorders(tmp_path / "bin", log), *words)
    assert ended.returncode == 0, ended.stderr
    called = log.read_text().splitlines()
    python = "python -m concluded.first_three"
    part = f"{runs}/street {runs} --split test --from-ledger --seeds 2 3 --modes full"
    assert called[0] == f"{python}.report {part} --write --check"
    assert called[1].startswith("occfeat world ")
    assert called[-2:] == [f"{python}.work {part}", f"{python}.report {part} --write"]


@needs_bash
def test_script__refuses_before_the_world_is_built(tmp_path: Path) -> None:
    real = tmp_path / "bin"
    real.mkdir()
    (real / "python").write_text(f'#!/bin/sh\nexec "{sys.executable}" "$@"\n')
    (real / "python").chmod(0o755)
    ended = sh(tmp_path / "runs", real, "--split", "val", "--write")
    assert ended.returncode == 2
    assert "--write needs --split test" in ended.stderr
    assert not (tmp_path / "runs").exists()
