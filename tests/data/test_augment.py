import math

import pytest
import torch

from occfeat.data.augment import ImageChange, draw_change, new_from_old_px, write_changed
from occfeat.data.images import resize
from occfeat.geometry.frames import is_isometry
from occfeat.settings.sections import AugmentConfig

EVERYTHING = AugmentConfig(
    scale=(0.8, 1.3),
    shift=0.1,
    image_rotation_deg=10,
    image_flip=True,
    brightness=0.3,
    contrast=0.3,
    saturation=0.3,
    bev_rotation_deg=90,
    bev_flip=True,
)
OLD, NEW = (180, 320), (90, 160)


def spot(u: float, v: float, width_px: float = 6.0) -> torch.Tensor:
    """A black image of size OLD with a soft bright spot around pixel position (u, v)."""
    rows, columns = torch.meshgrid(torch.arange(OLD[0]) + 0.5, torch.arange(OLD[1]) + 0.5, indexing="ij")
    light = 255 * torch.exp(-((columns - u) ** 2 + (rows - v) ** 2) / (2 * width_px**2))
    return light.round().to(torch.uint8).expand(3, -1, -1).contiguous()


def changed(image: torch.Tensor, change: ImageChange, size: tuple[int, int]) -> torch.Tensor:
    """The changed image, written over one that is not black."""
    out = torch.full((3, *size), 77, dtype=torch.uint8)
    write_changed(image, change, out)
    return out


def middle(image: torch.Tensor) -> tuple[float, float]:
    """Pixel position (u, v) of the centre of the light."""
    light = image.float().mean(0)
    rows, columns = torch.arange(light.shape[0]) + 0.5, torch.arange(light.shape[1]) + 0.5
    return (
        (light.sum(0) * columns).sum().item() / light.sum().item(),
        (light.sum(1) * rows).sum().item() / light.sum().item(),
    )


@pytest.mark.parametrize(
    "change",
    [
        ImageChange(),
        ImageChange(flip=True),
        ImageChange(zoom=1.3),
        ImageChange(zoom=0.8),
        ImageChange(shift=(0.1, -0.08)),
        ImageChange(rotation_deg=9.0),
        ImageChange(zoom=1.21, shift=(-0.07, 0.05), flip=True),
        ImageChange(zoom=0.9, shift=(0.05, 0.1), rotation_deg=-7.0, flip=True),
        ImageChange(zoom=1.1, brightness=0.7),
    ],
)
@pytest.mark.parametrize("position", [(160.0, 90.0), (120.5, 70.25), (200.0, 110.0)])
def test_write_changed__the_light_is_where_the_matrix_says(
    change: ImageChange, position: tuple[float, float]
) -> None:
    moved = changed(spot(*position), change, NEW)
    expected = new_from_old_px(change, OLD, NEW) @ torch.tensor((*position, 1.0), dtype=torch.float64)
    assert moved.shape == (3, *NEW)
    assert middle(moved) == pytest.approx(expected[:2].tolist(), abs=0.05)


def test_write_changed__without_change_is_the_plain_resize() -> None:
    image = torch.randint(0, 256, (3, *OLD), dtype=torch.uint8)
    assert torch.equal(changed(image, ImageChange(), NEW), resize(image, NEW))
    assert torch.equal(changed(image, ImageChange(), OLD), image)


def test_write_changed__flip_and_crop_do_not_interpolate() -> None:
    image = torch.randint(0, 256, (3, *NEW), dtype=torch.uint8)
    assert torch.equal(changed(image, ImageChange(flip=True), NEW), image.flip(-1))
    shifted = changed(image, ImageChange(shift=(0.1, 0.0)), NEW)  # 16 pixels to the left
    assert torch.equal(shifted[..., :-16], image[..., 16:])
    assert not shifted[..., -16:].any()


def test_write_changed__light() -> None:
    image = torch.randint(50, 200, (3, *NEW), dtype=torch.uint8)
    darker = changed(image, ImageChange(brightness=0.5), NEW)
    torch.testing.assert_close(darker.float(), image * 0.5, atol=0.51, rtol=0)
    grey = changed(image, ImageChange(saturation=0.0), NEW)
    assert (grey[0] == grey[1]).all()
    flat = changed(image, ImageChange(contrast=0.0, saturation=0.0), NEW)
    assert flat.unique().numel() == 1


def test_draw_change__is_a_function_of_seed_epoch_and_row() -> None:
    def draw(seed: int = 1, epoch: int = 2, row: int = 3) -> list[float]:
        change = draw_change(EVERYTHING, 6, seed=seed, epoch=epoch, row=row)
        return [change.images[5].zoom, *change.new_ego_from_ego.flatten().tolist()]

    assert draw() == draw()
    assert len({str(draw(**one)) for one in ({}, {"seed": 9}, {"epoch": 9}, {"row": 9})}) == 4


def test_draw_change__keeps_to_the_settings() -> None:
    draws = [draw_change(EVERYTHING, 2, seed=0, epoch=0, row=row) for row in range(200)]
    images = [image for draw in draws for image in draw.images]
    assert all(0.8 <= image.zoom <= 1.3 for image in images)
    assert all(max(map(abs, image.shift)) <= 0.1 for image in images)
    assert all(abs(image.rotation_deg) <= 10 for image in images)
    assert all(0.7 <= image.contrast <= 1.3 for image in images)
    assert 100 < sum(image.flip for image in images) < 300
    turns = torch.stack([draw.new_ego_from_ego for draw in draws])
    assert is_isometry(turns).all()
    assert (turns[:, 2] == torch.tensor([0, 0, 1, 0])).all()
    mirrored = torch.linalg.det(turns[:, :3, :3]) < 0
    assert 60 < mirrored.sum() < 140


def test_draw_change__defaults_and_none_change_nothing() -> None:
    for config in (None, AugmentConfig()):
        change = draw_change(config, 3, seed=0, epoch=0, row=0)
        assert change.images == (ImageChange(),) * 3
        torch.testing.assert_close(change.new_ego_from_ego, torch.eye(4, dtype=torch.float64))


def test_draw_change__rotation_alone() -> None:
    config = AugmentConfig(bev_rotation_deg=30)
    turn = draw_change(config, 0, seed=0, epoch=0, row=0).new_ego_from_ego
    assert torch.linalg.det(turn[:3, :3]).item() == pytest.approx(1)
    assert abs(math.degrees(math.atan2(turn[1, 0], turn[0, 0]))) <= 30


@pytest.mark.parametrize("zoom", [0.7, 0.8, 0.97, 1.0, 1.2])
@pytest.mark.parametrize("shift", [(0.0, 0.0), (0.3, -0.2), (-0.26, 0.31), (1.5, 0.0)])
@pytest.mark.parametrize("flip", [False, True])
def test_write_changed__equals_plain_cropping_and_padding(
    zoom: float, shift: tuple[float, float], flip: bool
) -> None:
    image = torch.randint(0, 256, (*OLD, 3), dtype=torch.uint8).permute(2, 0, 1)  # as decoded
    change = ImageChange(zoom, shift, flip=flip, contrast=1.2)
    scaled = resize(image, (round(NEW[0] * zoom), round(NEW[1] * zoom)))
    left = round((scaled.shape[2] - NEW[1]) / 2 + shift[0] * NEW[1])
    top = round((scaled.shape[1] - NEW[0]) / 2 + shift[1] * NEW[0])
    plain = torch.zeros(3, *NEW, dtype=torch.uint8)
    for v in range(NEW[0]):
        for u in range(NEW[1]):
            if 0 <= v + top < scaled.shape[1] and 0 <= u + left < scaled.shape[2]:
                plain[:, v, u] = scaled[:, v + top, u + left]
    light = (plain.flip(-1) if flip else plain).float()
    middle = (0.299 * light[0] + 0.587 * light[1] + 0.114 * light[2]).mean()
    expected = ((light - middle) * 1.2 + middle).clamp(0, 255)
    torch.testing.assert_close(changed(image, change, NEW).float(), expected, atol=0.51, rtol=0)
