"""`occfeat demo --quick`: every stage of the method, on a world of its own."""

import json
import os
import re
import shlex
import shutil
import signal
import sys
from contextlib import AbstractContextManager
from pathlib import Path

import psutil
import pytest
from PIL import Image

from occfeat.cli import main
from occfeat.commands import demo as command
from occfeat.errors import Interrupted
from occfeat.machine.atomic import lock_folder
from occfeat.models.weights.packaged import PackagedFile
from occfeat.settings.yaml_file import read_yaml
from streetworld.build import SCENES
from streetworld.config import WorldConfig
from tests.end_to_end.forks import Command, wait_until

pytestmark = pytest.mark.slow
STAGES = ["world", "check", "cache", "pretrain", "finetune none", "finetune occfeat", "pictures"]


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("demo") / "demo"
    assert main(["demo", "--quick", "--out", str(out)]) == 0
    return out


def test_demo__writes_a_summary(finished: Path) -> None:
    summary = json.loads((finished / "summary.json").read_text())
    assert set(summary) == {"arms", "seconds", "peak_memory_mb"}
    assert set(summary["arms"]) == {"none", "occfeat"}
    for arm, metrics in summary["arms"].items():
        files = [finished / f"{arm}-{draw}" / "evaluation-test" / "results.json" for draw in (0, 1)]
        draws = [json.loads(file.read_text())["metrics"] for file in files]
        assert set(metrics) == {"vehicle_iou/visible", "vehicle_iou/all"}
        for name, value in metrics.items():
            assert value == pytest.approx((draws[0][name] + draws[1][name]) / 2)
    assert list(summary["seconds"]) == STAGES
    assert all(seconds >= 0 for seconds in summary["seconds"].values())
    assert 100 < summary["peak_memory_mb"] < 4000


def test_demo__both_arms_learn_from_the_same_labels(finished: Path) -> None:
    for draw in (0, 1):
        tokens = [
            (finished / f"{arm}-{draw}" / "label_tokens.txt").read_text() for arm in ("none", "occfeat")
        ]
        assert tokens[0] == tokens[1]
        assert len(tokens[0].split()) == 2


def test_demo__keeps_more_of_what_was_pretrained(finished: Path) -> None:
    shares = {
        arm: read_yaml(finished / f"{arm}-0" / "settings.yaml")["optim"]["student_rate"]
        for arm in ("none", "occfeat")
    }
    assert shares == {"none": 1.0, "occfeat": 0.1}


def test_demo__ends_with_a_page_of_pictures(finished: Path) -> None:
    text = (finished / "index.html").read_text()
    pictures = re.findall(r'<img src="([^"]+)"', text)
    assert len(pictures) == 6
    for name in pictures:
        with Image.open(finished / name) as picture:
            assert min(picture.size) > 300
    metric = json.loads((finished / "summary.json").read_text())["arms"]["occfeat"]["vehicle_iou/visible"]
    assert f"<td>{metric:.3f}</td>" in text


def test_demo__goes_on_where_it_was(
    finished: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    out = shutil.copytree(finished, tmp_path / "demo")
    kept = (out / "none-0" / "weights.safetensors").stat().st_mtime_ns
    shutil.rmtree(out / "occfeat-1" / "evaluation-test")  # its training had finished
    (out / "occfeat-1" / "model.json").unlink()

    def interrupt(*_: object) -> None:
        raise Interrupted("SIGTERM")

    with monkeypatch.context() as patch:
        patch.setattr(command, "write_demo_page", interrupt)
        assert main(["demo", "--quick", "--out", str(out)]) == 130
    assert f"Go on with: occfeat demo --out {out} --quick" in capsys.readouterr().err
    assert main(["demo", "--quick", "--out", str(out)]) == 0
    assert (out / "none-0" / "weights.safetensors").stat().st_mtime_ns == kept
    assert capsys.readouterr().out.splitlines()[-1] == str(out / "index.html")
    before, after = (json.loads((folder / "summary.json").read_text()) for folder in (finished, out))
    assert after["arms"] == before["arms"]


@pytest.mark.parametrize("flags", [[], ["--seed", "3"], ["--quick", "--seed", "3"]])
def test_demo__names_a_command_that_goes_on(
    flags: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    asked = []

    def interrupt(config: WorldConfig) -> None:
        asked.append(config)
        raise KeyboardInterrupt

    monkeypatch.setattr(command, "build_world", interrupt)
    assert main(["demo", "--out", str(tmp_path / "my demo"), *flags]) == 130
    again = shlex.split(capsys.readouterr().err.split("Go on with: ")[1])
    assert again[0] == "occfeat"
    assert main(again[1:]) == 130
    assert asked[0] == asked[1]


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no such signal")
def test_demo__sigterm_in_its_world_leaves_no_processes(tmp_path: Path) -> None:
    out = tmp_path / "demo"
    demo = Command(["demo", "--quick", "--out", str(out)], tmp_path / "printed.txt")
    wait_until(lambda: any((out / "street").glob(f"{SCENES}/*.json")), [demo])
    children = psutil.Process(demo.pid).children()
    helpers = [child for child in children if any("spawn_main" in word for word in child.cmdline())]
    assert helpers
    os.kill(demo.pid, signal.SIGTERM)
    assert demo.wait() == 130
    assert f"Go on with: occfeat demo --out {out} --quick" in demo.printed
    assert "Traceback" not in demo.printed
    assert [helper for helper in helpers if helper.is_running()] == []


def test_demo__refuses_another_one_that_was_begun_meanwhile(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def lock_too_late(folder: Path) -> AbstractContextManager[None]:
        (folder / "demo.yaml").write_text("seed: 7\n")
        return lock_folder(folder)

    monkeypatch.setattr(command, "lock_folder", lock_too_late)
    assert main(["demo", "--quick", "--out", str(tmp_path / "demo")]) == 2
    assert "demo with other settings" in capsys.readouterr().err
    assert (tmp_path / "demo" / "demo.yaml").read_text() == "seed: 7\n"


def test_demo__refuses_other_settings_and_other_folders(
    finished: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["demo", "--quick", "--seed", "1", "--out", str(finished)]) == 2
    assert "demo with other settings" in capsys.readouterr().err
    (tmp_path / "mine.txt").write_text("mine")
    assert main(["demo", "--out", str(tmp_path)]) == 2
    assert "not empty" in capsys.readouterr().err
    assert [file.name for file in tmp_path.iterdir()] == ["mine.txt"]


def test_demo__refuses_another_file_in_place_of_its_weights(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    other = PackagedFile("timm", "1", "timm/__init__.py", "0123abcd")
    monkeypatch.setattr(command, "TEACHER_FILE", other)
    monkeypatch.setattr(command, "STUDENT_FILE", other)
    out = tmp_path / "demo"
    assert main(["demo", "--out", str(out)]) == 2
    said = capsys.readouterr().err
    assert "is not the file that is known to work" in said
    assert "known sha256: 0123abcd" in said
    assert "Hint: Run: pip install --no-deps timm==1 --force-reinstall" in said
    assert not out.exists()  # nor a demo.yaml in it, which would claim the folder
