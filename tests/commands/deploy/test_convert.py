"""`occfeat convert`: a published checkpoint becomes a run folder, and nothing else does."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

import occfeat
from occfeat.cli import main
from occfeat.errors import WeightsError
from tests.models.rigs import surround
from tests.models.weights.test_loading import Trap
from tests.support.published import hollow, published_tensors, save_published

SMALL_VIEW = "--view.image-size 48 80"
SMALL_GRID = "--grid.lower-m -16 -16 -1 --grid.upper-m 16 16 3 --grid.cell-m 1 1 0.5"


@pytest.fixture(scope="module")
def tensors() -> dict[str, torch.Tensor]:
    return published_tensors()


@pytest.fixture(scope="module")
def run(tensors: dict[str, torch.Tensor], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run folder made of a published checkpoint, for a small grid and small images."""
    folder = tmp_path_factory.mktemp("published")
    checkpoint = save_published(folder / "model-000025000.pth", tensors)
    words = ["convert", str(checkpoint), "--out", str(folder / "run")]
    assert main(words + SMALL_VIEW.split() + SMALL_GRID.split()) == 0
    return folder / "run"


def test_convert__writes_every_tensor_of_the_network(run: Path, tensors: dict[str, torch.Tensor]) -> None:
    written = load_file(run / "weights.safetensors")
    beside = ("_weight", "feat_head.", "offset_head.", "center_head.")
    kept = {
        name: tensor
        for name, tensor in tensors.items()
        if not name.endswith("_weight") and not any(part in name for part in beside[1:])
    }
    assert len(written) == len(kept) + 2  # mean and standard deviation of the colours
    assert torch.equal(written["student.encoder.backbone.conv1.weight"], kept["encoder.backbone.0.weight"])
    assert torch.equal(
        written["student.encoder.backbone.layer2.3.bn3.running_var"],
        kept["encoder.backbone.5.3.bn3.running_var"],
    )
    assert torch.equal(written["student.encoder.neck.6.bias"], kept["encoder.depth_layer.bias"])
    mirrored = kept["decoder.segmentation_head.0.weight"].flip(-1)
    assert torch.equal(written["head.block.0.weight"], mirrored)
    total = sum(tensor.double().abs().sum() for tensor in written.values())
    buffers = written["student.encoder.mean"].sum() + written["student.encoder.std"].sum()
    assert float(total - buffers) == pytest.approx(float(sum(t.double().abs().sum() for t in kept.values())))


def test_convert__default_grid_lies_around_the_front_camera(
    tensors: dict[str, torch.Tensor], tmp_path: Path
) -> None:
    checkpoint = save_published(tmp_path / "model.pth", hollow(tensors))
    done = occfeat.convert(checkpoint, tmp_path / "run", sampling="aligned")
    card = json.loads((done.path / "model.json").read_text())
    model = occfeat.load_model(done.path)
    assert card["student"]["kind"] == "simplebev-published"
    assert card["student"]["sampling"] == "aligned"
    assert model.segmenter.student.aligned
    assert model.classes == ("vehicle",)
    assert model.image_size == (448, 800)
    assert model.grid.shape == (200, 200)
    assert model.grid.centers().mean(dim=(0, 1)).tolist() == pytest.approx([1.7, 0], abs=1e-4)


def test_convert__run_predicts_in_our_axes(run: Path) -> None:
    model = occfeat.load_model(run)
    cameras = surround(image_size=(48, 80), focal_px=50.0)
    random = torch.Generator().manual_seed(0)
    images = torch.randint(0, 256, (6, 3, 48, 80), dtype=torch.uint8, generator=random)
    calibration = (cameras.intrinsics[0], cameras.ego_from_camera[0])
    probability = model.predict(images, *calibration)["vehicle"]
    assert probability.shape == (32, 32)
    assert probability.std() > 0
    images[1:3] = 255 - images[1:3]  # the cameras that look to the front left and to the back left
    moved = (model.predict(images, *calibration)["vehicle"] - probability).abs()
    assert moved[:, 16:].mean() > 1.2 * moved[:, :16].mean()  # the second index grows to the left
    images[1:3] = 255 - images[1:3]
    images[[0, 1, 5]] = 255 - images[[0, 1, 5]]  # those that look forward
    moved = (model.predict(images, *calibration)["vehicle"] - probability).abs()
    assert moved[16:].mean() > 1.2 * moved[:16].mean()


def test_convert__run_is_evaluated_and_fine_tuned(run: Path, folder: Path, tmp_path: Path) -> None:
    engine = {"workers": 0, "device": "cpu"}
    metrics = occfeat.evaluate(
        run, data=folder, split="mini_val", out=tmp_path / "evaluation", engine=engine
    ).metrics
    assert 0 <= metrics["vehicle_iou/all"] <= 1
    tuned = occfeat.finetune(
        data=folder,
        start=run,
        out=tmp_path / "tuned",
        split="mini_train",
        val_split=None,
        freeze=True,
        optim={"epochs": 1, "batch_size": 3},
        engine=engine,
    )
    before, after = load_file(run / "weights.safetensors"), load_file(tuned.weights)
    student = [name for name in before if name.startswith("student.")]
    assert all(torch.equal(before[name], after[name]) for name in student)


Change = Callable[[dict[str, torch.Tensor]], dict[str, torch.Tensor]]


def without(*names: str) -> Change:
    return lambda tensors: {name: tensor for name, tensor in tensors.items() if name not in names}


def radar(tensors: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    return tensors | {"bev_compressor.0.weight": torch.zeros(()).expand(128, 1152, 3, 3)}


def ours(tensors: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    return {"student.encoder.backbone.conv1.weight": tensors["encoder.backbone.0.weight"]}


def another(tensors: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    return {"layer1.0.conv1.weight": torch.zeros(1)}


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (without("decoder.bn1.weight"), ["1 of 665 tensors differ", "missing: decoder.bn1.weight (64,)"]),
        (radar, ["bev_compressor.0.weight is (128, 1152, 3, 3), wanted (128, 1024, 3, 3)", "camera-only"]),
        (ours, ["weights of this package", "run folder"]),
        (another, ["666 of 665 tensors differ", "camera-only checkpoint with ResNet-50, ResNet-101 or"]),
    ],
    ids=["missing", "radar", "ours", "another"],
)
def test_convert__another_network_is_refused_by_name(
    tensors: dict[str, torch.Tensor],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    change: Change,
    said: list[str],
) -> None:
    checkpoint = save_published(tmp_path / "model.pth", change(hollow(tensors)))
    assert main(["convert", str(checkpoint), "--out", str(tmp_path / "run")]) == 2
    printed = capsys.readouterr().err
    assert all(part in printed for part in [*said, str(checkpoint)]), printed
    assert len(printed.splitlines()) < 10
    assert "Traceback" not in printed
    assert not (tmp_path / "run").exists()


def test_convert__other_heights_are_refused(tensors: dict[str, torch.Tensor], tmp_path: Path) -> None:
    checkpoint = save_published(tmp_path / "model.pth", hollow(tensors))
    with pytest.raises(
        WeightsError, match=r"1024, 3, 3\), wanted \(128, 512, 3, 3\)(.|\n)*heights of the grid"
    ):
        occfeat.convert(checkpoint, tmp_path / "run", grid={"cell_m": (0.5, 0.5, 2.5)})


def test_convert__runs_no_code(
    tensors: dict[str, torch.Tensor], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    save_published(Path("model.pth"), hollow(tensors), scheduler=Trap())
    with pytest.raises(WeightsError, match="could run any code"):
        occfeat.convert("model.pth", "run")
    assert not Path("trap-was-sprung").exists()
    assert not Path("run").exists()


def test_convert__damaged_or_absent_files_are_refused(
    tensors: dict[str, torch.Tensor], run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    whole = save_published(tmp_path / "model.pth", hollow(tensors)).read_bytes()
    (tmp_path / "short.pth").write_bytes(whole[: len(whole) // 2])
    for name, said in (
        (tmp_path / "short.pth", "cannot be read as weights"),
        (tmp_path / "none.pth", "does not exist"),
        (run / "weights.safetensors", "weights of this package"),
    ):
        assert main(["convert", str(name), "--out", str(tmp_path / "run")]) == 2
        printed = capsys.readouterr().err
        assert said in printed
        assert str(name) in printed


@pytest.mark.parametrize("backbone", ["resnet50", "resnet152"])
def test_convert__finds_the_encoder_of_the_file(tmp_path: Path, backbone: str) -> None:
    checkpoint = save_published(tmp_path / "model.pth", hollow(published_tensors(backbone)))
    words = ["convert", str(checkpoint), "--out", str(tmp_path / "run")]
    assert main(words + SMALL_VIEW.split() + SMALL_GRID.split()) == 0
    card = json.loads((tmp_path / "run" / "model.json").read_text(encoding="utf-8"))
    assert card["student"]["backbone"] == backbone


@pytest.mark.parametrize(
    ("change", "said"),
    [("encoder.backbone._conv_stem.weight", "is an EfficientNet"), ("other", "ResNet-50, ResNet-101")],
)
def test_convert__another_encoder_is_named(
    tmp_path: Path, change: str, said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    checkpoint = save_published(tmp_path / "model.pth", {change: torch.zeros(3)})
    assert main(["convert", str(checkpoint), "--out", str(tmp_path / "run")]) == 2
    assert said in capsys.readouterr().err


def test_convert__keeps_what_is_in_the_folder(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["convert", str(run / "weights.safetensors"), "--out", str(run)]) == 2
    assert "not empty" in capsys.readouterr().err
