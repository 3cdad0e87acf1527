"""Evaluation under corruptions of what cannot be evaluated so: a clear error, before anything is computed."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from occfeat.cli import main
from occfeat.data.index.index import Index
from occfeat.settings.sections import DataConfig
from tests.bad_input.conftest import Refused
from tests.data.corruptions.released_folder import write_released
from tests.support.nuscenes_folder import build_nuscenes_folder
from tests.support.small_runs import Flags


@pytest.fixture(scope="module")
def tuned(flags: Flags, tmp_path_factory: pytest.TempPathFactory) -> Path:
    run = tmp_path_factory.mktemp("runs") / "tuned"
    assert main(flags("finetune", run, "--val-split", "None", "--optim.epochs", "1", "--pictures", "0")) == 0
    return run


def command(run: Path, data: Path, out: Path, *more: str) -> list[str]:
    words = ["evaluate", run, "--data", data, "--out", out, "--split", "mini_val", *more]
    return [*map(str, words), "--engine.workers", "0"]


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--corruptions", "Frog"], "Frog"),
        (["--corruptions", "fog"], "fog"),
        (
            ["--corruptions", "Fog", "--baseline", "/nowhere"],
            "does not hold robustness.json of mini_val",
        ),
        (
            ["--corruptions", "Fog", "--corrupted-data", "/nowhere"],
            "The folder /nowhere/Fog/easy does not exist",
        ),
        (["--baseline", "/nowhere"], "expected corruptions with baseline, got none"),
        (["--corrupted-data", "/nowhere"], "expected corruptions with corrupted_data, got none"),
    ],
)
def test_evaluate__what_makes_no_sense_is_named(
    tuned: Path, folder: Path, tmp_path: Path, refused: Refused, words: list[str], said: str
) -> None:
    assert said in refused(command(tuned, folder, tmp_path / "out", *words))
    assert not (tmp_path / "out").exists()


def test_evaluate__unknown_corruption_names_the_known_ones(
    tuned: Path, folder: Path, tmp_path: Path, refused: Refused
) -> None:
    assert "MotionBlur" in refused(command(tuned, folder, tmp_path / "out", "--corruptions", "Frog"))


def test_training__unknown_corruption_is_refused(flags: Flags, tmp_path: Path, refused: Refused) -> None:
    assert "Frog" in refused(flags("finetune", tmp_path / "run", "--augment.corruptions", "Frog"))
    assert "--augment.corruption-probability" in refused(
        flags("finetune", tmp_path / "run", "--augment.corruption-probability", "2")
    )


def test_evaluate__run_without_weights(tuned: Path, folder: Path, tmp_path: Path, refused: Refused) -> None:
    run = tmp_path / "run"
    shutil.copytree(tuned, run)
    (run / "weights.safetensors").unlink()
    assert "weights.safetensors" in refused(command(run, folder, tmp_path / "out", "--corruptions", "all"))


def test_evaluate__images_that_are_too_small(tuned: Path, tmp_path: Path, refused: Refused) -> None:
    small = build_nuscenes_folder(tmp_path / "small", image_size=(20, 30))
    said = refused(command(tuned, small, tmp_path / "out", "--corruptions", "Brightness"))
    assert "30 x 20 pixels; expected at least 32 x 32" in said


def test_evaluate__baseline_of_something_else(
    tuned: Path, folder: Path, tmp_path: Path, refused: Refused
) -> None:
    assert main(command(tuned, folder, tmp_path / "base", "--corruptions", "Fog")) == 0
    words = ["--corruptions", "Fog", "Snow", "--baseline", str(tmp_path / "base"), "--engine.seed", "3"]
    said = refused(command(tuned, folder, tmp_path / "out", *words))
    assert "seed: the baseline has 0, this run 3" in said
    assert "the baseline was not evaluated under Snow" in said
    file = tmp_path / "base" / "robustness.json"
    file.write_text(
        json.dumps({**json.loads(file.read_text()), "corrupted": {"Fog": {"easy": {"x": "<b>"}}}})
    )
    words = ["--corruptions", "Fog", "--baseline", str(tmp_path / "base")]
    assert "is damaged or of another version" in refused(command(tuned, folder, tmp_path / "out", *words))


@pytest.fixture
def nothing_is_read(monkeypatch: pytest.MonkeyPatch) -> Callable[[], None]:
    """From when it is called, evaluating as much as the clean images is a bug."""
    return lambda: monkeypatch.setattr("occfeat.commands.evaluate.evaluate.evaluate_segmenter", None)


def test_evaluate__baseline_of_other_classes(
    tuned: Path, folder: Path, tmp_path: Path, refused: Refused, nothing_is_read: Callable[[], None]
) -> None:
    assert main(command(tuned, folder, tmp_path / "base", "--corruptions", "Fog")) == 0
    file = tmp_path / "base" / "robustness.json"
    file.write_text(file.read_text().replace("vehicle_iou", "pedestrian_iou"))
    nothing_is_read()
    words = ["--corruptions", "Fog", "--baseline", str(tmp_path / "base")]
    said = refused(command(tuned, folder, tmp_path / "out", *words))
    assert "the baseline has no vehicle_iou/all, vehicle_iou/visible" in said


def test_evaluate__baseline_without_what_a_stopped_evaluation_had_finished(
    tuned: Path, folder: Path, tmp_path: Path, refused: Refused, nothing_is_read: Callable[[], None]
) -> None:
    base, out = tmp_path / "base", tmp_path / "out"
    assert main(command(tuned, folder, base, "--corruptions", "Fog")) == 0
    assert main(command(tuned, folder, out, "--corruptions", "ColorQuant")) == 0
    (out / "robustness.md").unlink()
    before = (out / "robustness.json").read_text()
    words = command(tuned, folder, out, "--corruptions", "Fog")
    nothing_is_read()
    assert "was not evaluated under ColorQuant" in refused([*words, "--baseline", str(base)])
    assert (out / "robustness.json").read_text() == before


def test_evaluate__released_images_that_are_missing(
    tuned: Path, folder: Path, tmp_path: Path, refused: Refused, nothing_is_read: Callable[[], None]
) -> None:
    index = Index.open(DataConfig(root=folder))
    for severity in ("easy", "mid"):
        write_released(tmp_path / "C", index, "Fog", severity)
    (tmp_path / "C" / "Fog" / "hard").mkdir()
    nothing_is_read()
    words = ["--corruptions", "Fog", "--corrupted-data", str(tmp_path / "C")]
    said = refused(command(tuned, folder, tmp_path / "out", *words))
    assert f"3 key frame(s) are incomplete in {tmp_path / 'C' / 'Fog' / 'hard'}, 0 allowed" in said
    assert "Unpack Fog to Fog/" in said
    assert "occfeat check" not in said
