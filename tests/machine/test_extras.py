"""Training needs the base installation; everything else names the extra that it needs."""

import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from occfeat.cli import main
from occfeat.commands.table import COMMANDS, load
from occfeat.errors import MissingExtraError
from occfeat.machine.extras import EXTRAS, require_extra

PROJECT = tomllib.loads((Path(__file__).parents[2] / "pyproject.toml").read_text(encoding="utf-8"))["project"]
NOT_ASKED_FOR = {"dev", "docs"}
ALONE = [name for name, command in COMMANDS.items() if command.extra is None]


def package_names(lines: list[str]) -> set[str]:
    return {re.split(r"[^\w.-]", line)[0] for line in lines}


def test_extras__are_those_of_the_project() -> None:
    declared = PROJECT["optional-dependencies"]
    assert set(EXTRAS) == set(declared) - NOT_ASKED_FOR
    for name, extra in EXTRAS.items():
        assert set(extra.packages) == package_names(declared[name])


def test_extras__hold_nothing_that_everybody_has() -> None:
    base = package_names(PROJECT["dependencies"])
    assert base & {package for extra in EXTRAS.values() for package in extra.packages} == set()


def test_base__imports_every_command_without_an_extra() -> None:
    """In a program of its own, in which no package of an extra can be imported."""
    hidden = sorted({module for extra in EXTRAS.values() for module in extra.packages.values()})
    code = (
        f"import sys; sys.modules |= dict.fromkeys({hidden})\n"
        "from occfeat.commands.table import load\n"
        f"for name in {ALONE}: load(name)\n"
        "from occfeat.commands.doctor.doctor import doctor\n"
        "from occfeat.settings.commands import DoctorConfig\n"
        "print(doctor(DoctorConfig()).text)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    for name in EXTRAS:
        assert f"extra {name}: not installed, for" in done.stdout
        assert f"pip install 'occfeat[{name}]'" in done.stdout


@pytest.mark.parametrize("name", [name for name, command in COMMANDS.items() if command.extra])
def test_command__names_the_extra_that_it_needs(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    extra = COMMANDS[name].extra
    assert extra is not None
    for package, module in EXTRAS[extra].packages.items():
        with monkeypatch.context() as patched:
            patched.setitem(sys.modules, module, None)
            with pytest.raises(MissingExtraError, match=f"{package}, which is not installed") as caught:
                load(name)
        assert f"pip install 'occfeat[{extra}]'" in caught.value.hint


def test_missing_extra__ends_a_command_before_any_work(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, "onnx", None)
    assert main(["demo", "--out", str(tmp_path / "demo")]) == 2
    assert "pip install 'occfeat[demo]'" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


def test_packaged_teacher__names_its_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    from occfeat.models.weights.packaged import packaged_teacher_weights

    monkeypatch.setitem(sys.modules, "onnx", None)
    with pytest.raises(MissingExtraError, match="The packaged teacher needs onnx") as caught:
        packaged_teacher_weights()
    assert "occfeat[demo]" in caught.value.hint


def test_require_extra__adds_another_way_on(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "rerun", None)
    with pytest.raises(MissingExtraError) as caught:
        require_extra("viz", what="A recording", hint="Or draw a picture.")
    assert caught.value.hint == "pip install 'occfeat[viz]'. Or draw a picture."
