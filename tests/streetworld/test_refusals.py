"""Worlds that are not built: what is said, what to do, and that nothing is left behind."""

import json
import re
import sys
from pathlib import Path

import pytest

from occfeat.cli import main
from occfeat.errors import RunError, SettingsError
from streetworld.build import build_world
from streetworld.config import WorldConfig
from tests.streetworld.test_build import files_of
from tests.support.small_world import SMALL


def test_another_world_or_other_files_are_left_alone(street_world: Path, tmp_path: Path) -> None:
    before = files_of(street_world)
    with pytest.raises(RunError) as caught:
        build_world(WorldConfig(out=street_world, **SMALL))
    assert caught.value.message == f"{street_world} holds another world."
    assert caught.value.hint == "Choose another folder, or remove this one first."
    assert files_of(street_world) == before
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(RunError, match="not empty") as caught:
        build_world(WorldConfig(out=tmp_path, **SMALL))
    assert str(tmp_path) in caught.value.message
    assert caught.value.hint == "Choose a new or empty folder."
    assert [path.name for path in tmp_path.iterdir()] == ["notes.txt"]


@pytest.mark.parametrize(
    ("change", "message", "hint"),
    [
        ({"image_size": (1, 1)}, "CAM_FRONT would be 1 x 1 px", "`image_size` .* at least 16 px each way"),
        ({"rig": "pogo"}, "no rig named 'pogo'", "Choose one of nuscenes"),
        ({"scenes": 2, "val_scenes": 2, "test_scenes": 1}, "more than 2 scenes", "Raise `scenes`"),
    ],
)
def test_settings_no_world_can_be_made_from(tmp_path: Path, change: dict, message: str, hint: str) -> None:
    out = tmp_path / "world"
    with pytest.raises(SettingsError, match=rf"{message}.*\nHint: .*{hint}"):
        build_world(WorldConfig(out=out, **{**SMALL, **change}))
    assert not out.exists()


@pytest.mark.parametrize("flag", ["--scenes", "--key-frames"])
def test_none_at_all__is_refused(flag: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "world"
    assert main(["world", "--out", str(out), flag, "0"]) == 2
    assert f"{flag}: Input should be greater than or equal to 1 (got 0)" in capsys.readouterr().err
    assert not out.exists()


def test_a_rig_without_cameras__is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rig, out = tmp_path / "rig.json", tmp_path / "world"
    rig.write_text(json.dumps({"cameras": []}))
    assert main(["world", "--out", str(out), "--rig", str(rig)]) == 2
    assert f"error: The rig file {rig} has no cameras.\nHint: " in capsys.readouterr().err
    assert not out.exists()


@pytest.mark.parametrize("command", ["world", "demo"])
def test_no_embree_says_where_there_is_one(
    command: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, "embreex", None)
    out = tmp_path / command
    assert main([command, "--out", str(out)]) == 2
    said = capsys.readouterr().err
    assert f"needs embreex, which is not installed.\nHint: pip install 'occfeat[{command}]'." in said
    assert re.search("macOS.* Linux and Windows on x86-64", said)
    assert not out.exists()
