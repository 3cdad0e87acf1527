"""`occfeat analyse` on a small pretraining run."""

import json
import shutil
from pathlib import Path

import pytest

from occfeat.cli import main
from occfeat.pretraining.analysis.naming import NAMES
from tests.support.small_runs import Flags

pytest.importorskip("sklearn", reason="comes with the extra `analysis`")
PICTURES = (
    "features",
    "similarity",
    "probe",
    "probe_by_distance",
    "clusters",
    "cosine_by_class",
    "cosine_by_distance",
    "occupancy",
)


@pytest.fixture(scope="module")
def pretrained(flags: Flags, tmp_path_factory: pytest.TempPathFactory) -> Path:
    run = tmp_path_factory.mktemp("analyse") / "run"
    assert main(flags("pretrain", run, "--optim.epochs", "2")) == 0
    return run


def analyse(pretrained: Path, folder: Path, *more: str) -> int:
    return main(["analyse", str(pretrained), "--data", str(folder), "--split", "mini_val", *more])


def test_analyse__writes_metrics_and_pictures(pretrained: Path, folder: Path, tmp_path: Path) -> None:
    out = tmp_path / "analysis"
    more = ("--out", str(out), "--clusters", "3", "--voxel-ego", "5", "0", "0")
    assert analyse(pretrained, folder, *more) == 0
    results = json.loads((out / "analysis.json").read_text())
    assert results["key_frames"] == 3
    assert set(results["voxels"]) == set(NAMES)
    assert sum(results["voxels"].values()) > 0
    assert -1 <= results["cosine_by_class"]["all"] <= 1
    assert results["centered"] is False
    for who in ("teacher", "student", "bev"):
        assert 0 <= results["clusters"][who]["nmi"] <= 1
        assert all(0 <= auc <= 1 for auc in results["probe_auc"][who].values())
        by_class = results["probe_auc_by_distance"][who]
        assert set(by_class) == set(results["probe_auc"][who])
        assert all(0 <= auc <= 1 for rings in by_class.values() for auc in rings.values())
    assert all(0 <= ring["recall"] <= 1 for ring in results["occupancy_by_distance"].values())
    for name in PICTURES:
        assert (out / f"{name}.png").stat().st_size > 5000


def test_analyse__twice_gives_the_same_metrics(pretrained: Path, folder: Path, tmp_path: Path) -> None:
    for name in ("one", "two"):
        assert analyse(pretrained, folder, "--out", str(tmp_path / name), "--clusters", "3") == 0
    one, two = ((tmp_path / name / "analysis.json").read_text() for name in ("one", "two"))
    assert one == two


def test_analyse__without_its_checkpoint_is_refused(
    pretrained: Path, folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = tmp_path / "run"
    shutil.copytree(pretrained, run, ignore=shutil.ignore_patterns("checkpoints"))
    assert analyse(run, folder) == 2
    assert "no checkpoint" in capsys.readouterr().err


def test_analyse__more_clusters_than_voxels(
    pretrained: Path, folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert analyse(pretrained, folder, "--out", str(tmp_path / "out"), "--clusters", "100000") == 2
    assert "too few for 100000 clusters" in capsys.readouterr().err


def test_analyse__of_distillation_alone_says_nothing_of_occupancy(
    flags: Flags, folder: Path, tmp_path: Path
) -> None:
    run, out = tmp_path / "run", tmp_path / "out"
    words = flags("pretrain", run, "--optim.epochs", "1", "--loss.occupancy", "0", "--loss.features", "1")
    assert main(words) == 0
    assert analyse(run, folder, "--out", str(out), "--clusters", "3") == 0
    assert json.loads((out / "analysis.json").read_text())["occupancy_by_distance"] == {}
    assert not (out / "occupancy.png").exists()


def test_analyse__of_occupancy_alone_probes_its_bev_features(
    flags: Flags, folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run, out = tmp_path / "run", tmp_path / "out"
    words = flags("pretrain", run, "--optim.epochs", "1", "--loss.features", "0")
    assert main(words) == 0
    capsys.readouterr()
    assert analyse(run, folder, "--out", str(out), "--clusters", "3") == 0
    printed = capsys.readouterr().out
    assert "probe_auc/bev" in printed
    assert "cosine" not in printed
    results = json.loads((out / "analysis.json").read_text())
    assert set(results["probe_auc"]) == set(results["clusters"]) == {"bev"}
    assert results["cosine_by_class"] == results["cosine_by_distance"] == {}
    assert results["occupancy_by_distance"]
    found = {path.stem for path in out.glob("*.png")}
    assert found == {"features", "similarity", "probe", "probe_by_distance", "clusters", "occupancy"}


def test_analyse__of_centred_features_compares_centred_ones(
    flags: Flags, folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run, out = tmp_path / "run", tmp_path / "out"
    words = flags("pretrain", run, "--optim.epochs", "2", "--loss.center", "mean", "--loss.features", "1")
    assert main(words) == 0
    capsys.readouterr()
    assert analyse(run, folder, "--out", str(out), "--clusters", "3") == 0
    assert "centered_cosine" in capsys.readouterr().out
    results = json.loads((out / "analysis.json").read_text())
    assert results["centered"] is True
