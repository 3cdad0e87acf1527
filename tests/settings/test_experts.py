"""Expert settings can be set like all others, but `--help` does not list them."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from occfeat import cli
from occfeat.cli import HELP_ALL, main
from occfeat.commands.table import COMMANDS
from occfeat.settings.commands import PretrainConfig
from occfeat.settings.strict import EXPERT, Strict
from occfeat.settings.students import STUDENTS


def flags_of(kind: type[Strict], *, expert: bool, prefix: str = "") -> Iterator[str]:
    """The flags of settings, without those of students."""
    for name, field in kind.model_fields.items():
        section = field.annotation
        if isinstance(section, type) and issubclass(section, Strict):
            yield from flags_of(section, expert=expert, prefix=f"{prefix}{name}.")
        elif name != "student" and (EXPERT in field.metadata) == expert:
            yield f"--{prefix}{name}".replace("_", "-")


def shown(words: list[str], capsys: pytest.CaptureFixture[str]) -> set[str]:
    with pytest.raises(SystemExit) as stop:
        main(words)
    assert not stop.value.code
    return set(capsys.readouterr().out.replace(",", " ").split())


@pytest.mark.parametrize("name", COMMANDS)
def test_help__lists_the_others_and_help_all_lists_them_too(
    name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    kind = COMMANDS[name].settings
    expert, usual = set(flags_of(kind, expert=True)), set(flags_of(kind, expert=False))
    short, long = shown([name, "--help"], capsys), shown([name, HELP_ALL], capsys)
    assert usual <= short
    assert expert & short == set()
    assert expert | usual <= long
    assert (f"{HELP_ALL}:" in short) == bool(expert)


def test_help__of_a_student_lists_its_own_settings(capsys: pytest.CaptureFixture[str]) -> None:
    fields = STUDENTS["bevformer"].model_fields.items()
    expert = {f"--student.{name}".replace("_", "-") for name, field in fields if EXPERT in field.metadata}
    words = ["pretrain", "--student.kind", "bevformer"]
    assert "--student.heads" in expert
    assert "--student.layers" in shown([*words, "--help"], capsys)
    assert expert & shown([*words, "--help"], capsys) == set()
    assert expert <= shown([*words, HELP_ALL], capsys)


def test_expert_flags__are_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    caught: list[PretrainConfig] = []
    monkeypatch.setattr(cli, "load", lambda _: Caught(caught))
    words = ["--data", str(tmp_path), "--out", str(tmp_path / "run"), "--optim.clip-norm", "3"]
    with pytest.raises(StopIteration):
        cli._run("pretrain", [*words, "--view.no-compensate-ego-motion"])
    assert caught[0].optim.clip_norm == 3
    assert not caught[0].view.compensate_ego_motion


class Caught:
    """A module whose command notes its settings and stops."""

    def __init__(self, caught: list[PretrainConfig]) -> None:
        self.caught = caught

    def pretrain(self, config: PretrainConfig) -> None:
        self.caught.append(config)
        raise StopIteration
