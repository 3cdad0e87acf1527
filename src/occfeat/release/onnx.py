"""Export of a fine-tuned network to ONNX, to run it without PyTorch.

Inputs are images and calibration of pinhole cameras, or only images if the rig is stored in the file, with
any lenses. The output is probabilities. All shapes are fixed. The metadata of the file describe inputs and
output.

Axes: `N` cameras, `H W` image in pixels, `K` classes, `X Y` BEV cells (x forward, y left).
"""

import json
import logging
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from importlib.metadata import version
from typing import Any

import onnx
import torch
from jaxtyping import Float, UInt8
from torch import Tensor, nn

from occfeat.data.sample.cameras import Cameras
from occfeat.errors import ExportError
from occfeat.release.dense import densify
from occfeat.release.model import BevModel

OPSET = 18
"""ONNX opset: the first with all operators that PyTorch writes."""
OUTPUT = "probabilities"
"""Name of the output."""


class ExportableModel(nn.Module):
    """Student, head and sigmoid for one key frame, in exportable operators.

    Args:
        model: The network; its weights are shared.
        rig: Calibration of a fixed rig. None: calibration is an input.
    """

    def __init__(self, model: BevModel, rig: Cameras | None = None) -> None:
        super().__init__()
        self.student = densify(model.segmenter.student)
        self.head = model.segmenter.head
        self.image_size = model.image_size
        self.fixed = 0
        for tensor in () if rig is None else self.student.project_fixed(rig):
            self.register_buffer(f"projection{self.fixed}", tensor)
            self.fixed += 1
        self.eval()

    def forward(
        self,
        images: UInt8[Tensor, "N 3 H W"],
        intrinsics: Float[Tensor, "N 3 3"] | None = None,
        ego_from_camera: Float[Tensor, "N 4 4"] | None = None,
    ) -> Float[Tensor, "K X Y"]:
        """Return the probability of each class in each cell, 0 to 1; a stored rig needs no calibration.

        Cameras whose calibration is an input are pinholes.
        """
        projection: tuple[Tensor, ...] = tuple(
            getattr(self, f"projection{number}") for number in range(self.fixed)
        )
        if intrinsics is not None and ego_from_camera is not None:
            present = torch.ones(len(images), dtype=torch.bool)
            projection = self.student.project(Cameras(intrinsics, ego_from_camera, present, self.image_size))
        logits: Tensor = self.head(self.student(images, *projection))
        return logits[0].sigmoid()


def to_onnx(model: BevModel, inputs: dict[str, Tensor], rig: Cameras | None = None) -> onnx.ModelProto:
    """Return the network as an ONNX graph.

    Args:
        model: The network, on the CPU.
        inputs: Example inputs by name, which determine the shapes: `images` (N, 3, H, W), and without a rig
        also `intrinsics` (N, 3, 3) and `ego_from_camera` (N, 4, 4).
        rig: Calibration to store in the graph, without batch axis.

    Raises:
        ExportError: The student or an operator cannot be exported.
    """
    exportable = ExportableModel(model, rig)
    try:
        with torch.no_grad(), _quiet("onnxscript"):
            program: Any = torch.onnx.export(
                exportable,
                tuple(inputs.values()),
                dynamo=True,
                verbose=False,
                opset_version=OPSET,
                external_data=False,
                input_names=list(inputs),
                output_names=[OUTPUT],
            )
    except torch.onnx.errors.OnnxExporterError as error:
        hint = "Use a tested backbone: a CNN, or a plain vision transformer with default settings."
        raise ExportError(f"PyTorch cannot write this network as ONNX: {error}", hint=hint) from error
    graph: onnx.ModelProto = program.model_proto
    onnx.helper.set_model_props(graph, _describe(model, rig))
    onnx.checker.check_model(graph)
    return graph


def signature(values: Iterable[onnx.ValueInfoProto]) -> list[str]:
    """Return a graph's inputs or outputs, such as `images (6, 3, 224, 400), uint8`."""
    lines = []
    for value in values:
        tensor = value.type.tensor_type
        shape = tuple(axis.dim_value for axis in tensor.shape.dim)
        lines.append(f"{value.name} {shape}, {onnx.helper.tensor_dtype_to_np_dtype(tensor.elem_type)}")
    return lines


def largest_difference(graph: onnx.ModelProto, inputs: dict[str, Tensor], expected: Tensor) -> float:
    """Return the largest absolute difference of onnxruntime's output to the expected one."""
    import onnxruntime

    session = onnxruntime.InferenceSession(graph.SerializeToString(), providers=["CPUExecutionProvider"])
    (output,) = session.run([OUTPUT], {name: tensor.numpy() for name, tensor in inputs.items()})
    return float((torch.from_numpy(output) - expected).abs().max())


def _describe(model: BevModel, rig: Cameras | None) -> dict[str, str]:
    """Return the metadata of the file: strings by name, lists as JSON."""
    grid = model.grid
    return {
        "producer": f"occfeat {version('occfeat')}",
        "classes": json.dumps(model.classes),
        "images": "RGB, uint8, resized to image_size",
        "image_size": json.dumps(model.image_size),
        "calibration": "inputs, of pinhole cameras, for images of image_size"
        if rig is None
        else "of one rig, in the file",
        "probabilities": "0 to 1, (class, x forward, y left) in the ego frame",
        "lower_m": json.dumps(grid.lower_m),
        "upper_m": json.dumps(grid.upper_m),
        "cell_m": json.dumps(grid.cell_m),
    }


@contextmanager
def _quiet(name: str) -> Iterator[None]:
    """Silence the logging of a package."""
    log = logging.getLogger(name)
    level = log.level
    log.setLevel(logging.ERROR)
    try:
        yield
    finally:
        log.setLevel(level)
