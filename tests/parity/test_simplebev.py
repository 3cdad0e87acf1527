"""A converted checkpoint against what the published Simple-BEV network computes (ResNet-101).

The reference files hold its numbers on weights made from a rule, which are drawn here and saved in the
published format. Its volume lies in the frame of CAM_FRONT, so that frame, with our axes, is the ego frame of
this rig, and the grid is the published one around the camera.
"""

import json
import os
import zlib
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F

import occfeat
from occfeat.cli import main
from occfeat.data.sample.cameras import Cameras
from occfeat.release.model import BevModel
from tests.models.rigs import FORWARD

pytestmark = pytest.mark.parity

GRID_FLAGS = "--grid.lower-m -50 -50 -6 --grid.upper-m 50 50 4 --view.image-size 224 400"
IMAGE_SIZE = (224, 400)


@pytest.fixture(scope="module")
def reference_files() -> Path:
    folder = Path(os.environ.get("OCCFEAT_TEST_SIMPLEBEV", ""))
    if not (folder / "simplebev_res101.npz").is_file():
        pytest.skip("set OCCFEAT_TEST_SIMPLEBEV to the folder of simplebev_res101.npz")
    return folder


def by_rule(name: str, shape: tuple[int, ...]) -> torch.Tensor:
    """The tensor that the reference was computed with."""
    random = np.random.default_rng(zlib.crc32(name.encode()))
    if name.endswith("num_batches_tracked"):
        return torch.tensor(0)
    if name.endswith("running_var"):
        values = random.uniform(0.5, 1.5, shape)
    elif name.endswith("running_mean"):
        values = random.normal(0, 0.1, shape)
    elif len(shape) <= 1:
        values = random.normal(0, 0.1, shape) + name.endswith("weight")
    else:
        values = random.normal(0, np.sqrt(2 / np.prod(shape[1:])), shape)
    return torch.from_numpy(np.asarray(values, dtype=np.float32))


@pytest.fixture(scope="module")
def model(reference_files: Path, tmp_path_factory: pytest.TempPathFactory) -> BevModel:
    """The network, by the user's command."""
    folder = tmp_path_factory.mktemp("published")
    shapes = json.loads((reference_files / "simplebev_res101.names.json").read_text())
    tensors = {name: by_rule(name, tuple(shape)) for name, shape in shapes.items()}
    checkpoint = folder / "model.pth"
    torch.save({"model_state_dict": tensors, "optimizer_state_dict": {"state": {}}}, checkpoint)
    words = ["convert", str(checkpoint), "--out", str(folder / "run"), *GRID_FLAGS.split()]
    assert main(words) == 0
    return occfeat.load_model(folder / "run")


def rig(reference: dict[str, np.ndarray]) -> Cameras:
    """The reference rig, its ego frame that of CAM_FRONT with x forward, y left and z up."""
    ego_from_cam0 = torch.eye(4, dtype=torch.float64)
    ego_from_cam0[:3, :3] = FORWARD
    cam0_from_camera = torch.from_numpy(reference["cam0_from_camera"])
    return Cameras(
        intrinsics=torch.from_numpy(reference["intrinsics"])[None],
        ego_from_camera=(ego_from_cam0 @ cam0_from_camera.double()).float()[None],
        present=torch.ones(1, 6, dtype=torch.bool),
        image_size=IMAGE_SIZE,
    )


@torch.inference_mode()
def test_converted_checkpoint__computes_the_published_numbers(reference_files: Path, model: BevModel) -> None:
    with np.load(reference_files / "simplebev_res101.npz", allow_pickle=False) as file:
        reference = dict(file)
    small = torch.from_numpy(reference["images_small"])
    pixels = F.interpolate(small, size=IMAGE_SIZE, mode="bilinear", align_corners=False).clamp(-0.5, 0.5)
    student = model.segmenter.student
    features = student.encoder.encode_colors(pixels + 0.5)[None]
    bev = student.encode_bev(features, rig(reference))
    logits = model.segmenter.head(bev)[0, 0]

    # Published: rows forward, columns to the right. Ours: rows forward, columns to the left.
    theirs = torch.from_numpy(reference["segmentation"]).flip(1)
    raw = bev[0].flip(2)[:, ::8, ::8] - torch.from_numpy(reference["raw_feat_stride8"])
    difference = (logits - theirs).abs().max()
    print(f"largest differences: logits {difference:.2e}, features {raw.abs().max():.2e}")
    assert theirs.std() > 0.5
    assert difference <= 1e-3
    assert raw.abs().max() <= 1e-3
