"""The table of contents of `benchmarks/`, and how its scripts start each other."""

import re
from pathlib import Path

import pytest

from benchmarks.measuring import in_fresh_process

FOLDER = Path(__file__).parents[1] / "benchmarks"


def test_readme__names_every_script() -> None:
    scripts = {path.name for path in FOLDER.rglob("[!_]*.py")}
    named = re.findall(r"`(\w+\.py)`", (FOLDER / "README.md").read_text(encoding="utf-8"))
    assert set(named) == scripts


def test_results__commands_name_scripts_that_exist() -> None:
    text = (FOLDER / "RESULTS.md").read_text(encoding="utf-8")
    named = re.findall(r"python -m benchmarks\.([\w.]+)", text)
    assert named
    assert [name for name in named if not (FOLDER / f"{name.replace('.', '/')}.py").is_file()] == []


def test_in_fresh_process__starts_a_benchmark_as_a_module(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(FOLDER.parent)
    assert in_fresh_process(str(FOLDER / "__init__.py")) == []
