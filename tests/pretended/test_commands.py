"""Every command on the pretended GPU: devices never mix, and results are those of the CPU."""

import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

import occfeat.commands.deploy.predict
import occfeat.commands.evaluate.analyse
import occfeat.commands.report  # noqa: F401 - the fixture looks for what they choose devices with
from occfeat.cli import main
from occfeat.data.index.index import Index
from occfeat.settings.sections import DataConfig
from tests.pretended.device import PretendedGpu
from tests.support.small_runs import Flags

pytestmark = pytest.mark.filterwarnings("ignore:'pin_memory' argument:UserWarning")

LARGEST_DIFFERENCE = {"32-true": 2e-3, "bf16-mixed": 5e-2}
"""Of a metric: the same operators add up in another order."""
STUDENTS = ("simplebev", "bevformer", "lss")


@pytest.mark.parametrize("precision", ["32-true", "bf16-mixed"])
@pytest.mark.parametrize("student", STUDENTS)
def test_commands__run_on_a_gpu_as_on_a_cpu(
    request: pytest.FixtureRequest, flags: Flags, folder: Path, tmp_path: Path, student: str, precision: str
) -> None:
    options = ["--engine.precision", precision, "--student.kind", student]
    on_cpu = list(run_all(flags, folder, tmp_path / "cpu", "cpu", *options))
    request.getfixturevalue("gpu")
    on_gpu = list(run_all(flags, folder, tmp_path / "gpu", "cuda", *options))
    assert len(on_gpu) == 3
    for gpu, cpu in zip(on_gpu, on_cpu, strict=True):
        assert gpu.keys() == cpu.keys()
        for name in gpu.keys() - {"time/loading", "time/teaching", "time/learning"}:
            assert gpu[name] == pytest.approx(cpu[name], abs=LARGEST_DIFFERENCE[precision], nan_ok=True), name
    use(folder, tmp_path / "gpu")


def run_all(flags: Flags, data: Path, out: Path, device: str, *options: str) -> Iterator[dict[str, float]]:
    """Run the commands one after the other; yield the metrics of two trainings and an evaluation."""
    short = ["--engine.device", device, "--optim.epochs", "1", *options]
    common = ["--data", str(data), "--split", "mini_train"]
    teacher = flags("pretrain", out / "any")
    teacher = teacher[teacher.index("--teacher.name") : teacher.index("--head.channels")]
    cached = ["--out", str(out / "cache"), "--engine.device", device, "--engine.workers", "0", *teacher]
    assert main(["cache", *common, *cached]) == 0
    assert main(flags("pretrain", out / "pre", *short, "--teacher-cache", str(out / "cache"))) == 0
    yield last_row(out / "pre")
    tuned = ["--start", str(out / "pre"), "--classes", "vehicle", "drivable_area"]
    assert main(flags("finetune", out / "tuned", *short, *tuned, "--pictures", "0")) == 0
    yield last_row(out / "tuned")
    engine = ["--engine.device", device, "--engine.workers", "0", "--engine.precision", options[1]]
    assert main(["evaluate", str(out / "tuned"), *common, *engine, "--pictures", "0"]) == 0
    (results,) = (out / "tuned" / "evaluation-mini_train").glob("*.json")
    yield json.loads(results.read_text())["metrics"]


def use(data: Path, out: Path) -> None:
    """Predict a key frame, and analyse the pretrained network."""
    token = Index.open(DataConfig(root=data)).token(0)
    words = ["--data", str(data), "--out", str(out / "predicted"), "--tokens", token, "--device", "cuda"]
    assert main(["predict", str(out / "tuned"), *words]) == 0
    predicted = [np.load(file) for file in (out / "predicted").rglob("*.npy")]
    assert predicted
    assert all(np.isfinite(one).all() for one in predicted)
    common = ["--data", str(data), "--split", "mini_train", "--device", "cuda", "--voxels", "50"]
    assert main(["analyse", str(out / "pre"), *common]) == 0


def last_row(run: Path) -> dict[str, float]:
    """Metrics of the last row of a run."""
    row: dict[str, float] = json.loads((run / "metrics.jsonl").read_text().splitlines()[-1])
    return row


def test_pretraining__teacher_and_objectives_without_a_cache(
    gpu: PretendedGpu, flags: Flags, tmp_path: Path
) -> None:
    options = ["--engine.device", "cuda", "--optim.epochs", "1", "--student.kind", "lss"]
    options += ["--loss.queries", "1", "--loss.depth", "1", "--loss.unknown", "ignore"]
    options += ["--loss.unseen", "ignore", "--engine.recompute"]
    assert main(flags("pretrain", tmp_path / "run", *options)) == 0
    assert gpu.waits.total > 0
