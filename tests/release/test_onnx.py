import json
from pathlib import Path

import onnx
import pytest
import torch

from occfeat.data.sample.cameras import Cameras
from occfeat.errors import ExportError
from occfeat.release.onnx import OPSET, largest_difference, signature, to_onnx
from tests.models.rigs import surround
from tests.models.students.test_simplebev import images_for
from tests.models.students.test_students import KINDS
from tests.release.models import CLASSES, IMAGE_SIZE, small_model
from tests.support.rigs import GRID, ring_of_cameras

SPATIAL = ("GridSample", "Conv", "ConvTranspose", "Resize", "MaxPool", "AveragePool", "InstanceNormalization")
CAMERAS = 4


def rig(name: str) -> Cameras:
    """One of two rigs that share nothing."""
    if name == "ring":
        return ring_of_cameras(CAMERAS, IMAGE_SIZE)
    return surround(CAMERAS, IMAGE_SIZE, focal_px=50.0)


def inputs_of(cameras: Cameras, images: torch.Tensor, *, fixed: bool) -> dict[str, torch.Tensor]:
    calibration = {"intrinsics": cameras.intrinsics[0], "ego_from_camera": cameras.ego_from_camera[0]}
    return {"images": images[0]} | ({} if fixed else calibration)


def axes_of_spatial_operators(graph: onnx.ModelProto) -> set[int]:
    """Axes of the first input of every convolution, sampling, interpolation and pooling."""
    inferred = onnx.shape_inference.infer_shapes(graph, data_prop=True).graph
    values = (*inferred.value_info, *inferred.input, *inferred.output)
    axes = {value.name: len(value.type.tensor_type.shape.dim) for value in values}
    return {axes[node.input[0]] for node in inferred.node if node.op_type in SPATIAL}


def assert_says_what_it_holds(graph: onnx.ModelProto) -> None:
    said = {entry.key: entry.value for entry in graph.metadata_props}
    assert json.loads(said["classes"]) == list(CLASSES)
    assert json.loads(said["image_size"]) == list(IMAGE_SIZE)
    assert json.loads(said["lower_m"]) == list(GRID.bev.lower_m)
    assert said["producer"].startswith("occfeat ")
    assert [(entry.domain, entry.version) for entry in graph.opset_import] == [("", OPSET)]


@pytest.mark.parametrize("fixed", [False, True], ids=["any-rig", "fixed-rig"])
@pytest.mark.parametrize("kind", KINDS)
def test_to_onnx__computes_the_same(kind: str, fixed: bool, tmp_path: Path) -> None:
    model = small_model(tmp_path, kind)
    exported, other = rig("ring"), rig("ring" if fixed else "surround")
    images = images_for(exported)
    example = inputs_of(exported, images, fixed=fixed)
    graph = to_onnx(model, example, exported.of_key_frame(0) if fixed else None)
    for cameras, seen in ((exported, images), (other, 255 - images)):
        expected = model(seen, cameras)[0]
        assert expected.std() > 0.01
        difference = largest_difference(graph, inputs_of(cameras, seen, fixed=fixed), expected)
        assert difference is not None
        assert difference < 1e-4
    assert max(axes_of_spatial_operators(graph)) == 4
    calibration = [] if fixed else ["intrinsics (4, 3, 3), float32", "ego_from_camera (4, 4, 4), float32"]
    assert signature(graph.graph.input) == ["images (4, 3, 44, 80), uint8", *calibration]
    assert signature(graph.graph.output) == ["probabilities (2, 16, 16), float32"]
    assert_says_what_it_holds(graph)


def test_to_onnx__of_a_vision_transformer_with_low_rank_updates(tmp_path: Path) -> None:
    model = small_model(tmp_path, "simplebev", backbone="test_vit")
    model.segmenter.student.encoder.add_low_rank(2)
    cameras = rig("ring")
    images = images_for(cameras)
    inputs = inputs_of(cameras, images, fixed=True)
    graph = to_onnx(model, inputs, cameras.of_key_frame(0))
    difference = largest_difference(graph, inputs, model(images, cameras)[0])
    assert difference is not None
    assert difference < 1e-4


def test_largest_difference__sees_a_difference() -> None:
    value = onnx.helper.make_tensor_value_info("images", onnx.TensorProto.FLOAT, (2, 3))
    output = onnx.helper.make_tensor_value_info("probabilities", onnx.TensorProto.FLOAT, (2, 3))
    node = onnx.helper.make_node("Identity", ["images"], ["probabilities"])
    graph = onnx.helper.make_model(
        onnx.helper.make_graph([node], "graph", [value], [output]),
        opset_imports=[onnx.helper.make_opsetid("", OPSET)],
        ir_version=10,
    )
    images = torch.rand(2, 3)
    expected = images.clone()
    expected[1, 2] += 0.25
    assert largest_difference(graph, {"images": images}, expected) == pytest.approx(0.25)
    assert largest_difference(graph, {"images": images}, images) == 0


class Unwritable(torch.nn.Module):
    """A head whose way depends on the numbers."""

    def forward(self, bev: torch.Tensor) -> torch.Tensor:
        return bev if bev.sum() > 0 else -bev


def test_to_onnx__of_a_network_that_pytorch_cannot_write(tmp_path: Path) -> None:
    model, cameras = small_model(tmp_path, "simplebev"), rig("ring")
    model.segmenter.head = Unwritable()
    with pytest.raises(ExportError, match="PyTorch cannot write this network"):
        to_onnx(model, inputs_of(cameras, images_for(cameras), fixed=False))
