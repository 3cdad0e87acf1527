import pytest
import torch
from torch import Tensor, nn

from occfeat.data.sample.cameras import Cameras
from occfeat.errors import SettingsError
from occfeat.models.students.build import build_student
from occfeat.settings.students import OwnStudentConfig, SimpleBevConfig
from tests.models.rigs import SQUARE_GRID, surround


class Flat(nn.Module):
    """Gives one learned map for whatever it sees."""

    def __init__(self, *shape: int) -> None:
        super().__init__()
        self.channels = shape[0]
        self.plane = nn.Parameter(torch.zeros(shape))

    def forward(self, images: Tensor, cameras: Cameras) -> Tensor:
        return self.plane.expand(len(images), *self.plane.shape)


IMAGES = torch.zeros(1, 6, 3, 32, 56, dtype=torch.uint8)
CONFIG = OwnStudentConfig(name="Flat")


def test_own_student__stands_in() -> None:
    module = Flat(4, 32, 32)
    student = build_student(CONFIG, SQUARE_GRID, module)
    assert student.channels == 4
    assert torch.equal(student(IMAGES, surround()), module.plane[None])
    assert [name for name, _ in student.named_parameters()] == ["module.plane"]


@pytest.mark.parametrize("shape", [(4, 32, 31), (5, 32, 32), (4, 32, 32, 1)])
def test_own_student__that_does_not_fit_the_grid(shape: tuple[int, ...]) -> None:
    module = Flat(*shape)
    module.channels = 4
    student = build_student(CONFIG, SQUARE_GRID, module)
    found = ", ".join(map(str, (1, *shape)))
    with pytest.raises(SettingsError, match=rf"\(1, 4, 32, 32\) from the student Flat, got \({found}\)"):
        student(IMAGES, surround())


def test_own_student__that_gives_no_tensor() -> None:
    module = Flat(4, 32, 32)
    module.forward = lambda images, cameras: [module.plane]
    with pytest.raises(SettingsError, match="got list"):
        build_student(CONFIG, SQUARE_GRID, module)(IMAGES, surround())


@pytest.mark.parametrize("channels", [None, 0, 8.0])
def test_own_student__without_channels(channels: object) -> None:
    module = Flat(4, 32, 32)
    module.channels = channels
    with pytest.raises(
        SettingsError, match=r"positive integer `channels` on the student Flat(.|\n)*attribute `channels`"
    ):
        build_student(CONFIG, SQUARE_GRID, module)


def test_own_student__cannot_be_built_from_settings() -> None:
    with pytest.raises(SettingsError, match=r"module of your own, Flat(.|\n)*student="):
        build_student(CONFIG, SQUARE_GRID)


def test_own_student__has_no_place_beside_another_one() -> None:
    config = SimpleBevConfig(backbone_weights="none")
    with pytest.raises(SettingsError, match=r"student of kind simplebev.*Flat"):
        build_student(config, SQUARE_GRID, Flat(4, 32, 32))
