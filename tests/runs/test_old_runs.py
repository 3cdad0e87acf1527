"""Run folders of an earlier version are read, or refused with the version that wrote them."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml

from occfeat.cli import main
from occfeat.commands.layers import base_layer
from occfeat.errors import RunError, SettingsError
from occfeat.report.page.runs import read_runs
from occfeat.runs.card import ModelCard, read_card
from occfeat.runs.checkpoint import load_checkpoint
from occfeat.runs.folder import RunFolder
from occfeat.runs.saved_settings import read_settings
from occfeat.settings.commands import FinetuneConfig, PretrainConfig
from occfeat.settings.removed import without_removed


@pytest.fixture
def old(tmp_path: Path) -> RunFolder:
    """A run as an earlier version left it, with settings that are gone."""
    folder = RunFolder(tmp_path / "old")
    folder.checkpoint.parent.mkdir(parents=True)
    config = PretrainConfig(data=tmp_path / "data", out=folder.path)
    settings: dict[str, Any] = config.model_dump(mode="json")
    settings["view"]["decode_at_half"] = True
    settings["engine"] |= {"max_skipped": 0, "max_dead_workers": 3}
    folder.settings.write_text(yaml.safe_dump(settings, sort_keys=False))
    environment = {"command": "pretrain", "versions": {"occfeat": "0.0.9"}, "data_fingerprint": "abc"}
    folder.environment.write_text(json.dumps(environment))
    card = ModelCard(stage="pretraining", student=config.student, grid=config.grid, view=config.view)
    described = card.model_dump(mode="json")
    described["view"]["decode_at_half"] = True
    folder.card.write_text(json.dumps(described))
    torch.save({"version": 3, "step": 7, "skipped": 0}, folder.checkpoint)
    return folder


def test_settings__that_were_removed_are_left_out_and_named(
    old: RunFolder, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    expected = PretrainConfig(data=tmp_path / "data", out=old.path)
    assert read_settings(old.path, PretrainConfig) == expected
    for name in ("view.decode_at_half", "engine.max_skipped", "engine.max_dead_workers"):
        assert f"the setting {name} was removed and is ignored" in caplog.text


def test_report_and_start__read_the_folder(old: RunFolder, tmp_path: Path) -> None:
    (run,) = read_runs([old.path])
    assert run.command == "pretrain"
    assert run.card == read_card(old.path)
    layer = base_layer(FinetuneConfig, above={"start": old.path})
    assert "decode_at_half" not in layer["view"]
    assert FinetuneConfig(data=tmp_path / "data", out=tmp_path / "new", **layer).student == run.card.student


def test_checkpoint__of_another_version_is_refused_with_what_to_do(old: RunFolder) -> None:
    with pytest.raises(RunError, match=r"a checkpoint of version 3, not \d") as caught:
        load_checkpoint(old.checkpoint)
    assert "the version of occfeat that wrote it" in caught.value.hint


def test_settings__that_do_not_fit_name_the_version_that_wrote_them(old: RunFolder) -> None:
    old.settings.write_text(old.settings.read_text() + "never_heard_of: 3\n")
    with pytest.raises(SettingsError, match="Unknown setting: never_heard_of") as caught:
        read_settings(old.path, PretrainConfig)
    assert "written by occfeat 0.0.9" in caught.value.hint


def test_settings__of_another_command_are_refused(old: RunFolder) -> None:
    with pytest.raises(RunError, match="is a pretraining run") as caught:
        read_settings(old.path, FinetuneConfig)
    assert f"occfeat pretrain --resume {old.path}" in caught.value.hint


def test_settings_file_of_an_old_run__given_as_config_names_what_was_removed(
    old: RunFolder, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "new"
    assert main(["pretrain", "--config", str(old.settings), "--out", str(out)]) == 2
    said = capsys.readouterr().err
    assert "Removed setting: view.decode_at_half" in said
    assert "leave it out" in said
    assert not out.exists()


def test_flag__of_a_removed_setting_says_why(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["pretrain", "--data", str(tmp_path), "--out", str(tmp_path / "new")]
    with pytest.raises(SystemExit) as stop:
        main([*words, "--view.no-decode-at-half"])
    assert stop.value.code == 2
    assert "--view.no-decode-at-half was removed: JPEGs are decoded at half scale" in capsys.readouterr().err


@pytest.mark.parametrize(("before", "now"), [(True, "mean"), (False, "none")])
def test_settings__that_were_renamed_are_read_with_their_meaning(
    old: RunFolder, caplog: pytest.LogCaptureFixture, before: bool, now: str
) -> None:
    settings = yaml.safe_load(old.settings.read_text())
    settings["loss"]["center_features"] = before
    del settings["loss"]["center"]
    old.settings.write_text(yaml.safe_dump(settings))
    assert read_settings(old.path, PretrainConfig).loss.center == now
    assert "center" not in caplog.text


def test_renamed_setting__in_a_file_or_as_a_flag_says_its_name(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "old.yaml").write_text("loss: {center_features: true}\n")
    words = ["pretrain", "--data", str(tmp_path), "--out", str(tmp_path / "new")]
    assert main([*words, "--config", str(tmp_path / "old.yaml")]) == 2
    said = "it is loss.center now: none for false, mean for true"
    assert f"Renamed setting: loss.center_features ({said})" in capsys.readouterr().err
    with pytest.raises(SystemExit):
        main([*words, "--loss.center-features"])
    assert said in capsys.readouterr().err


def test_without_removed__keeps_what_it_does_not_know() -> None:
    settings = {"view": {"decode_at_half": False, "sweeps": 2}, "mine": [1], "to": "onnx"}
    kept, removed = without_removed(settings)
    assert kept == {"view": {"sweeps": 2}, "mine": [1]}
    assert set(removed) == {"view.decode_at_half", "to"}
    assert without_removed(["a list"]) == (["a list"], {})
