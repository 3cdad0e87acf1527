"""What a user can get wrong about `occfeat report`: exit code 2, a few plain lines, no page."""

import json
import shutil
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from occfeat.cli import main
from tests.support.nuscenes_folder import build_nuscenes_folder
from tests.support.small_runs import Flags

pytest.importorskip("plotly", reason="comes with the extra `report`")
Refused = Callable[..., str]


@pytest.fixture(scope="module")
def tuned(flags: Flags, tmp_path_factory: pytest.TempPathFactory) -> Path:
    run = tmp_path_factory.mktemp("runs") / "tuned"
    words = ["--val-split", "mini_val", "--optim.epochs", "1", "--pictures", "0"]
    assert main(flags("finetune", run, *words)) == 0
    return run


@pytest.fixture
def other(tuned: Path, tmp_path: Path) -> Path:
    """Another run, to be spoilt."""
    return Path(shutil.copytree(tuned, tmp_path / "other"))


@pytest.fixture
def refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Refused:
    def run(*words: object) -> str:
        out = tmp_path / "page.html"
        assert main(["report", *map(str, words), "--out", str(out), "--device", "cpu"]) == 2
        assert not out.exists()
        printed = capsys.readouterr().err
        assert "Traceback" not in printed
        return printed

    return run


def test_folder__that_is_no_run(tuned: Path, tmp_path: Path, refused: Refused) -> None:
    assert "is not a run folder" in refused(tuned, tmp_path)
    assert "/nowhere is not a run folder" in refused("/nowhere")


def test_run__that_is_named_twice(tuned: Path, refused: Refused) -> None:
    assert "named twice" in refused(tuned, tuned.parent / "." / "tuned" / "weights.safetensors")


def test_page__that_exists(tuned: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    page = tmp_path / "mine.html"
    page.write_text("mine")
    assert main(["report", str(tuned), "--out", str(page)]) == 2
    assert "exists already" in capsys.readouterr().err
    assert page.read_text() == "mine"


def test_page__of_another_name(tuned: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    page = tmp_path / "page"
    assert main(["report", str(tuned), "--out", str(page)]) == 2
    said = capsys.readouterr().err
    assert f"Expected an --out that ends in .html, got {page}.\nHint: Give it a name such as" in said
    assert not page.exists()


def test_runs__of_another_grid(tuned: Path, other: Path, refused: Refused) -> None:
    card = json.loads((other / "model.json").read_text())
    card["grid"]["cell_m"] = [2, 2, 1]
    (other / "model.json").write_text(json.dumps(card))
    printed = refused(tuned, other)
    assert "cannot be compared" in printed
    assert "other: grid" in printed


def test_runs__on_other_data(tuned: Path, other: Path, refused: Refused) -> None:
    environment = json.loads((other / "environment.json").read_text())
    (other / "environment.json").write_text(json.dumps({**environment, "data_fingerprint": "another"}))
    assert "tuned: other data" in refused(tuned, other)


def test_data__that_the_runs_did_not_learn_from(tuned: Path, tmp_path: Path, refused: Refused) -> None:
    data = build_nuscenes_folder(tmp_path / "set", scenes=("scene-0061",), seed=1)
    assert "is not the data set of these runs" in refused(tuned, "--data", data)


def test_data__that_has_gone_leaves_the_key_frames_out(other: Path, tmp_path: Path) -> None:
    settings = other / "settings.yaml"
    lines = ["data: /gone" if line.startswith("data:") else line for line in settings.read_text().split("\n")]
    settings.write_text("\n".join(lines))
    assert main(["report", str(other), "--out", str(tmp_path / "page.html")]) == 0
    assert "the data set was not found" in (tmp_path / "page.html").read_text()


@pytest.mark.parametrize(
    "file", ["metrics.jsonl", "environment.json", "model.json", "evaluation-mini_val/results.json"]
)
def test_files__that_are_damaged_are_named(other: Path, refused: Refused, file: str) -> None:
    (other / file).write_text('{"a": ')
    assert file.split("/")[-1] in refused(other)


def test_results__of_another_shape_are_named(other: Path, refused: Refused) -> None:
    folder = other / "robustness-mini_val"
    folder.mkdir()
    for content in ("[]", '{"format": 2}', '{"split": "a"}'):
        (folder / "robustness.json").write_text(content)
        assert "robustness.json is damaged or of another version" in refused(other)


def test_footprint__that_is_damaged_is_named(other: Path, refused: Refused) -> None:
    (other / "footprint.json").write_text('{"seconds": 3}')
    assert "footprint.json is damaged" in refused(other)


def test_plotly__that_is_not_installed(
    tuned: Path, refused: Refused, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "plotly", None)
    assert "pip install 'occfeat[report]'" in refused(tuned)


def test_split__that_does_not_exist(tuned: Path, refused: Refused) -> None:
    assert "Split 'trian'" in refused(tuned, "--split", "trian")
