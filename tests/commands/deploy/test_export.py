import json
import sys
from pathlib import Path

import onnxruntime
import pytest
import torch
from PIL import Image

from occfeat.cli import main
from occfeat.commands.deploy.predict import read_rig_file
from occfeat.release.shipped import load_model
from tests.release.models import IMAGE_SIZE, write_run


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_run(tmp_path_factory.mktemp("runs") / "run", "simplebev")


def write_rig(folder: Path, cameras: int = 2) -> Path:
    """A rig file, its images of another size than the network's."""
    entries = []
    for number in range(cameras):
        Image.new("RGB", (120, 90), (40 * number, 90, 120)).save(folder / f"{number}.png")
        pose = [[0, 0, 1, 1 + number], [-1, 0, 0, 0], [0, -1, 0, 1.5], [0, 0, 0, 1]]
        intrinsics = [[90, 0, 60], [0, 90, 45], [0, 0, 1]]
        entries.append({"image": f"{number}.png", "intrinsics": intrinsics, "ego_from_camera": pose})
    rig = folder / "rig.json"
    rig.write_text(json.dumps({"cameras": entries}))
    return rig


def test_export__for_any_rig(run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "new" / "model.onnx"
    assert main(["export", str(run), "--out", str(file), "--cameras", "3"]) == 0
    said = capsys.readouterr().out
    height, width = IMAGE_SIZE
    for line in (
        f"input  images (3, 3, {height}, {width}), uint8",
        "input  intrinsics (3, 3, 3), float32",
        "input  ego_from_camera (3, 4, 4), float32",
        "output probabilities (2, 16, 16), float32: vehicle, walkway on 16 x 16 cells of 1 x 1 m",
        "calibration that is an input is that of pinhole cameras",
        "opset 18",
    ):
        assert line in said
    assert float(said.split("in onnxruntime: ")[1].splitlines()[0]) < 1e-4
    assert said.splitlines()[-1] == str(file)


def test_export__with_a_rig_stored(run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rig, file = write_rig(tmp_path), tmp_path / "model.onnx"
    assert main(["export", str(run), "--out", str(file), "--rig", str(rig)]) == 0
    session = onnxruntime.InferenceSession(file, providers=["CPUExecutionProvider"])
    assert [entry.name for entry in session.get_inputs()] == ["images"]
    described = json.loads(rig.read_text())["cameras"]
    model = load_model(run)
    images, cameras = model.prepare(
        torch.randint(0, 256, (2, 3, 90, 120), dtype=torch.uint8),
        torch.tensor([camera["intrinsics"] for camera in described], dtype=torch.float64),
        torch.tensor([camera["ego_from_camera"] for camera in described], dtype=torch.float64),
    )
    (found,) = session.run(None, {"images": images[0].numpy()})
    assert torch.allclose(torch.from_numpy(found), model(images, cameras)[0], atol=1e-4)


def test_export__with_a_rig_of_lenses_stored(run: Path, tmp_path: Path) -> None:
    rig, file = write_rig(tmp_path), tmp_path / "model.onnx"
    described = json.loads(rig.read_text())
    described["cameras"][1]["lens"] = {"model": "kannala_brandt", "coefficients": [0.1, -0.02, 0, 0]}
    rig.write_text(json.dumps(described))
    assert main(["export", str(run), "--out", str(file), "--rig", str(rig)]) == 0
    session, model, view = onnxruntime.InferenceSession(file), load_model(run), read_rig_file(rig)
    taken = torch.randint(0, 256, (2, 3, 90, 120), dtype=torch.uint8)
    images, cameras = model.prepare(taken, view.intrinsics, view.ego_from_camera, view.lenses)
    (found,) = session.run(None, {"images": images[0].numpy()})
    assert torch.allclose(torch.from_numpy(found), model(images, cameras)[0], atol=1e-4)
    pinholes = model.prepare(taken, view.intrinsics, view.ego_from_camera)[1]
    assert not torch.allclose(torch.from_numpy(found), model(images, pinholes)[0], atol=1e-3)


def test_export__that_computes_something_else_is_not_written(
    run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    for difference in (2e-4, float("nan")):
        with monkeypatch.context() as patched:
            patched.setattr("occfeat.commands.deploy.export.largest_difference", lambda *_, by=difference: by)
            patched.setattr("occfeat.commands.deploy.export.to_onnx", lambda *_: None)
            file = tmp_path / "model.onnx"
            assert main(["export", str(run), "--out", str(file)]) == 2
        assert "differ from PyTorch's" in capsys.readouterr().err
        assert not file.exists()


@pytest.mark.parametrize("module", ["onnx", "onnxruntime", "onnxscript"])
def test_export__without_a_package_of_the_extra(
    run: Path,
    tmp_path: Path,
    module: str,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(sys.modules, module, None)
    assert main(["export", str(run), "--out", str(tmp_path / "model.onnx")]) == 2
    said = capsys.readouterr().err
    assert f"needs {module}, which is not installed" in said
    assert "pip install 'occfeat[export]'" in said
    assert list(tmp_path.iterdir()) == []


def test_export__refuses_what_it_cannot_use(
    run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def said(*words: object) -> str:
        assert main(["export", *map(str, words), "--out", str(tmp_path / "model.onnx")]) == 2
        return capsys.readouterr().err

    assert "does not contain a finished model" in said(tmp_path)
    assert "does not exist" in said(run, "--rig", tmp_path / "none.json")
    card = json.loads((run / "model.json").read_text())
    other = tmp_path / "pretraining"
    other.mkdir()
    (other / "model.json").write_text(json.dumps(card | {"stage": "pretraining"}))
    assert "got the pretraining run" in said(other)
