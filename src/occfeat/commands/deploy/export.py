"""`occfeat export`: a fine-tuned network in a format that other programs run."""

import torch
from jaxtyping import UInt8
from torch import Tensor

from occfeat.commands.deploy.predict import read_rig_file
from occfeat.commands.outcome import Outcome
from occfeat.data.sample.cameras import Cameras
from occfeat.errors import ExportError, SettingsError
from occfeat.geometry.frames import from_rotation, rotation_about_z
from occfeat.machine.atomic import write_bytes_atomic
from occfeat.release.onnx import OPSET, largest_difference, signature, to_onnx
from occfeat.release.shipped import load_model
from occfeat.runs.folder import RunFolder
from occfeat.settings.commands import ExportConfig

USUAL_CAMERAS = 6
"""Number of cameras of a run that does not say it."""

TOLERANCE = 1e-4
"""By how much a probability may differ from PyTorch's."""

EGO_FROM_FORWARD_CAMERA = torch.tensor([[0.0, 0, 1], [-1, 0, 0], [0, -1, 0]])
"""Camera axes (right, down, forward) in the ego frame of a camera that looks forward."""


def export(config: ExportConfig) -> Outcome:
    """Write an ONNX file and compare it with PyTorch.

    Raises:
        OccFeatError: The run, the rig or the output file cannot be used, or the exported network computes
            something else; then nothing is written.
    """
    if config.out.suffix != ".onnx":
        hint = "Give it a name such as model.onnx."
        raise SettingsError(f"Expected an --out that ends in .onnx, got {config.out}.", hint=hint)
    model = load_model(RunFolder.of(config.run).path)
    if config.rig is None:
        count = config.cameras or len(model.card.cameras or model.card.view.cameras) or USUAL_CAMERAS
        images, cameras = _example(count, model.image_size)
    else:
        rig = read_rig_file(config.rig)
        images, cameras = model.prepare(rig.images, rig.intrinsics, rig.ego_from_camera, rig.lenses)
    inputs = {"images": images[0]}
    if config.rig is None:
        inputs |= {"intrinsics": cameras.intrinsics[0], "ego_from_camera": cameras.ego_from_camera[0]}
    graph = to_onnx(model, inputs, None if config.rig is None else cameras.of_key_frame(0))
    difference = largest_difference(graph, inputs, model(images, cameras)[0])
    if not difference <= TOLERANCE:
        raise ExportError(
            f"onnxruntime's probabilities differ from PyTorch's by {difference:.1e}, more than {TOLERANCE}.",
            hint=f"Nothing was written. Please report it, with {RunFolder(model.folder).card}.",
        )
    content = graph.SerializeToString()
    write_bytes_atomic(config.out, content)
    lines = [
        *(f"input  {line}" for line in signature(graph.graph.input)),
        *(
            f"output {line}: {', '.join(model.classes)} on {model.grid.in_words()}"
            for line in signature(graph.graph.output)
        ),
        *(("calibration that is an input is that of pinhole cameras",) if config.rig is None else ()),
        f"opset {OPSET}, {len(content) / 1e6:.1f} MB",
        f"largest difference to PyTorch's probabilities in onnxruntime: {difference:.1e}",
        str(config.out),
    ]
    return Outcome("\n".join(lines))


def _example(count: int, image_size: tuple[int, int]) -> tuple[UInt8[Tensor, "1 N 3 H W"], Cameras]:
    """Return noise, and cameras evenly around the car, to run a network with calibration as input."""
    height, width = image_size
    random = torch.Generator().manual_seed(0)
    images = torch.randint(0, 256, (1, count, 3, height, width), generator=random, dtype=torch.uint8)
    intrinsics = torch.tensor([[0.8 * width, 0, width / 2], [0, 0.8 * width, height / 2], [0, 0, 1]])
    turn = rotation_about_z(-2 * torch.pi * torch.arange(count) / count)
    position = turn @ torch.tensor([1.0, 0, 0]) + torch.tensor([0, 0, 1.5])
    cameras = Cameras(
        intrinsics=intrinsics.repeat(1, count, 1, 1),
        ego_from_camera=from_rotation(turn @ EGO_FROM_FORWARD_CAMERA, position)[None],
        present=torch.ones(1, count, dtype=torch.bool),
        image_size=image_size,
    )
    return images, cameras
