from pathlib import Path

import pytest
import torch

from occfeat.errors import ExportError
from occfeat.models.students.own import OwnStudent
from occfeat.models.students.student import Student
from occfeat.release.dense import densify
from tests.models.rigs import random_cameras, with_lenses
from tests.models.students.test_simplebev import images_for
from tests.models.students.test_students import KINDS
from tests.release.models import IMAGE_SIZE, small_model
from tests.support.rigs import GRID


@pytest.mark.parametrize(("seed", "lenses"), [(0, False), (1, False), (2, True)])
@pytest.mark.parametrize("kind", KINDS)
def test_dense__computes_what_the_student_computes(
    kind: str, seed: int, lenses: bool, tmp_path: Path
) -> None:
    student = small_model(tmp_path, kind).segmenter.student
    cameras = random_cameras(seed, batch=1, cameras=4, image_size=IMAGE_SIZE)
    cameras = with_lenses(cameras) if lenses else cameras
    images, rig, dense = images_for(cameras), cameras.of_key_frame(0), densify(student)
    with torch.no_grad():
        expected = student(images, cameras)
        assert expected.std() > 0.1
        for projection in (dense.project(rig), dense.project_fixed(rig)):
            assert torch.allclose(dense(images[0], *projection), expected, atol=2e-5)


def test_project_fixed__leaves_out_what_is_never_seen(tmp_path: Path) -> None:
    rig = random_cameras(0, batch=1, cameras=4, image_size=IMAGE_SIZE).of_key_frame(0)
    for kind in ("simplebev", "bevformer", "lss"):
        dense = densify(small_model(tmp_path, kind).segmenter.student)
        assert dense.project_fixed(rig)[0].numel() < 0.7 * dense.project(rig)[0].numel()


def test_densify__refuses_modules_of_the_user() -> None:
    module = torch.nn.Identity()
    module.channels = 8
    with pytest.raises(ExportError, match=r"(?s)module of your own.*SimpleBev, PublishedSimpleBev"):
        densify(OwnStudent(module, GRID))


def test_densify__a_student_without_a_form_to_export_is_not_called_the_user_s() -> None:
    class NewStudent(Student):
        """One of this package that nobody has made ready for export."""

    with pytest.raises(ExportError, match="NewStudent has no `DenseStudent`") as caught:
        densify(NewStudent())
    assert "your own" not in str(caught.value)
