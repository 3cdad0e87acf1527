"""The oracle teacher: true classes of a street world as a teacher cache."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from occfeat.cli import main
from occfeat.data.index.index import Index
from occfeat.settings.sections import DataConfig
from occfeat.teacher.cache import TeacherCache
from streetworld.things.materials import CLASSES
from tests.experiments.scripts import FOLDER, load
from tests.support.small_runs import Flags

oracle_cache = load("harness.oracle_cache")


@pytest.fixture(scope="module")
def cache(street_world: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("oracle") / "cache"
    oracle_cache.write_oracle_cache(street_world, out, "val")
    return out


def test_oracle__gives_the_shares_of_the_true_classes(street_world: Path, cache: Path) -> None:
    index = Index.open(DataConfig(root=street_world))
    row = int(index.rows("val")[1])
    maps = TeacherCache(cache).read(row).decode()
    assert maps.shape == (6, len(CLASSES), 64 // 4, 112 // 4)
    assert torch.allclose(maps.sum(dim=1), torch.ones(6, 16, 28), atol=0.02)
    camera = index.key_frame(row).cameras[2]
    name = Path(camera.path).with_suffix(".npz").name
    with np.load(street_world / "truth" / camera.channel / name) as truth:
        square = truth["class_id"][20:24, 40:44]
    shares = np.bincount(square.ravel(), minlength=len(CLASSES)) / 16
    assert maps[2, :, 5, 10].tolist() == pytest.approx(shares.tolist(), abs=0.01)


def test_oracle__pretraining_learns_from_it(
    street_world: Path, cache: Path, flags: Flags, tmp_path: Path
) -> None:
    words = flags("pretrain", tmp_path / "run", "--optim.epochs", "1", "--loss.center", "mean")
    words[words.index("--data") + 1] = str(street_world)
    words[words.index("--split") + 1] = "val"
    words += ["--teacher-cache", str(cache), "--teacher.name", "truth", "--teacher.weights", "hub"]
    assert main([*words, "--teacher.image-size", "64", "112"]) == 0
    last = json.loads((tmp_path / "run" / "metrics.jsonl").read_text().splitlines()[-1])
    assert -1 <= last["centered_cosine"] <= 1


def test_oracle__without_truth_says_how_to_get_it(folder: Path, tmp_path: Path) -> None:
    command = [sys.executable, "-m", "harness.oracle_cache", str(folder), str(tmp_path / "cache")]
    done = subprocess.run(command, cwd=FOLDER, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert "--truth" in done.stderr
    assert "Traceback" not in done.stderr
