"""Augmentation: random changes, drawn as plain values and applied by pure functions.

A draw depends only on the seed, the epoch and the row. It is the same in every loader process.
An image is first resized with antialiasing, then shifted, mirrored and rotated in one step.
`new_from_old_px` is the exact matrix of both; it is multiplied with the intrinsics. `new_ego_from_ego`
rotates and mirrors the ego frame.
"""

import math
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import torch
from jaxtyping import Float, UInt8
from torch import Tensor
from torch.nn import functional as F

from occfeat.data import images
from occfeat.geometry import camera
from occfeat.geometry.frames import from_rotation, rotation_about_z
from occfeat.settings.sections import AugmentConfig


@dataclass(frozen=True)
class ImageChange:
    """Augmentation of one image. The defaults only resize it."""

    zoom: float = 1.0
    """Size before cropping, relative to the final size."""
    shift: tuple[float, float] = (0.0, 0.0)
    """Shift of the crop's centre along u and v, as a fraction of the image size."""
    rotation_deg: float = 0.0
    """Counter-clockwise rotation of the image."""
    flip: bool = False
    """Mirror left to right."""
    brightness: float = 1.0
    """Factor of all values."""
    contrast: float = 1.0
    """Factor of the distance from the mean grey of the image."""
    saturation: float = 1.0
    """Factor of the distance of each pixel from its own grey."""


@dataclass(frozen=True)
class BeamChange:
    """LiDAR beams that are left out. The defaults leave out none."""

    share: float = 0.0
    """Share of the beams of each LiDAR file, below 1."""
    seed: int = 0
    """Seed of the choice of beams."""


@dataclass(frozen=True)
class Change:
    """Augmentation of one sample."""

    images: tuple[ImageChange, ...]
    """One change per camera."""
    new_ego_from_ego: Float[Tensor, "4 4"]
    """Rotation and mirroring of the ego frame: an isometry, float64."""
    beams: BeamChange = BeamChange()
    """Change of the LiDAR."""


def draw_change(config: AugmentConfig | None, cameras: int, *, seed: int, epoch: int, row: int) -> Change:
    """Draw the change of one sample. Without settings, return the identity."""
    if config is None:
        return Change((ImageChange(),) * cameras, torch.eye(4, dtype=torch.float64))
    random = np.random.default_rng((seed, epoch, row))
    new_ego_from_ego = _draw_ego_change(config, random)
    images = tuple(_draw_image_change(config, random) for _ in range(cameras))
    return Change(images, new_ego_from_ego, _draw_beam_change(config, random))


def _draw_image_change(config: AugmentConfig, random: np.random.Generator) -> ImageChange:
    """Draw the change of one image."""
    zoom = random.uniform(*config.scale)
    right, down, turn, flip, *light = random.uniform(-1, 1, size=7)
    spans = (config.brightness, config.contrast, config.saturation)
    brightness, contrast, saturation = (
        max(0.0, 1 + span * float(draw)) for span, draw in zip(spans, light, strict=True)
    )
    return ImageChange(
        zoom=float(zoom),
        shift=(config.shift * float(right), config.shift * float(down)),
        rotation_deg=config.image_rotation_deg * float(turn),
        flip=config.image_flip and bool(flip < 0),
        brightness=brightness,
        contrast=contrast,
        saturation=saturation,
    )


def _draw_beam_change(config: AugmentConfig, random: np.random.Generator) -> BeamChange:
    """Draw the beams to leave out; drawn last, so that all else stays as it is without."""
    return BeamChange(float(random.uniform(0, config.lidar_beams)), int(random.integers(1 << 62)))


def _draw_ego_change(config: AugmentConfig, random: np.random.Generator) -> Float[Tensor, "4 4"]:
    """Draw a rotation and mirroring of the ego frame."""
    turn, flip_x, flip_y = random.uniform(-1, 1, size=3)
    if not (config.bev_flip or config.bev_rotation_deg):  # as below, in a tenth of the time
        return torch.eye(4, dtype=torch.float64)
    angle = torch.tensor(math.radians(config.bev_rotation_deg) * float(turn), dtype=torch.float64)
    mirror = torch.ones(3, dtype=torch.float64)
    if config.bev_flip:
        mirror[0], mirror[1] = 1 if flip_x < 0 else -1, 1 if flip_y < 0 else -1
    return from_rotation(mirror.diag() @ rotation_about_z(angle), torch.zeros(3, dtype=torch.float64))


@lru_cache(maxsize=64)  # the cameras of a rig have few sizes, and often no change
def new_from_old_px(
    change: ImageChange, old_size: tuple[int, int], size: tuple[int, int]
) -> Float[Tensor, "3 3"]:
    """Return the float64 matrix by which `write_changed` moves pixel positions; do not change it in place."""
    zoomed = zoomed_size(change, size)
    return _new_from_zoomed_px(change, zoomed, size) @ camera.resize(old_size, zoomed)


def write_changed(image: UInt8[Tensor, "3 H W"], change: ImageChange, out: UInt8[Tensor, "3 h w"]) -> None:
    """Resize an image to the size of another one, apply a change, and write it there.

    Pixels from outside the image are black.
    """
    size = out.shape[1], out.shape[2]
    zoomed = zoomed_size(change, size)
    scaled = images.resize(image, zoomed)
    if change.rotation_deg == 0:
        moved = _crop(scaled, _corner(change, zoomed, size), size)
        moved = moved.flip(-1) if change.flip else moved
    else:
        moved = _warp(images.with_planes(scaled), _new_from_zoomed_px(change, zoomed, size), size)
    images.write_planes(moved, out)
    if (change.brightness, change.contrast, change.saturation) != (1, 1, 1):
        out.copy_(_change_light(out, change))


def zoomed_size(change: ImageChange, size: tuple[int, int]) -> tuple[int, int]:
    """Return the (height, width) to which an image is resized before it is cropped."""
    return max(1, round(size[0] * change.zoom)), max(1, round(size[1] * change.zoom))


def _corner(change: ImageChange, zoomed: tuple[int, int], size: tuple[int, int]) -> tuple[int, int]:
    """Return (left, top) of the crop, in whole pixels to avoid interpolation."""
    left = (zoomed[1] - size[1]) / 2 + change.shift[0] * size[1]
    top = (zoomed[0] - size[0]) / 2 + change.shift[1] * size[0]
    return round(left), round(top)


def _new_from_zoomed_px(
    change: ImageChange, zoomed: tuple[int, int], size: tuple[int, int]
) -> Float[Tensor, "3 3"]:
    """Return the float64 matrix by which cropping, mirroring and rotating move pixel positions."""
    new_from_zoomed = camera.crop(*_corner(change, zoomed, size))
    if change.flip:
        new_from_zoomed = camera.flip_left_right(size[1]) @ new_from_zoomed
    if change.rotation_deg != 0:
        new_from_zoomed = camera.rotate(size, change.rotation_deg) @ new_from_zoomed
    return new_from_zoomed


def _crop(
    image: UInt8[Tensor, "3 H W"], corner: tuple[int, int], size: tuple[int, int]
) -> UInt8[Tensor, "3 h w"]:
    """Crop an image; pixels from outside it are black. The memory is that of decoded images or a view."""
    (left, top), (height, width) = corner, size
    inside = image[:, max(0, top) : max(0, top + height), max(0, left) : max(0, left + width)]
    if tuple(inside.shape[1:]) == size:
        return inside
    black = torch.zeros(height, width, 3, dtype=torch.uint8).permute(2, 0, 1)
    beside = black[:, max(0, -top) :, max(0, -left) :]
    beside[:, : inside.shape[1], : inside.shape[2]] = inside
    return black


def _warp(
    image: UInt8[Tensor, "3 H W"], new_from_old: Float[Tensor, "3 3"], size: tuple[int, int]
) -> UInt8[Tensor, "3 h w"]:
    """Sample the new image from the old one with a single bilinear interpolation."""
    rows, columns = torch.meshgrid(torch.arange(size[0]), torch.arange(size[1]), indexing="ij")
    centers_px = torch.stack((columns, rows, torch.full_like(rows, 0)), dim=-1).double()
    centers_px += torch.tensor((0.5, 0.5, 1), dtype=torch.float64)
    old_px = (centers_px @ torch.linalg.inv(new_from_old).mT)[..., :2]
    extent = torch.tensor((image.shape[2], image.shape[1]), dtype=torch.float64)
    positions = (2 * old_px / extent - 1).float()
    warped = F.grid_sample(image[None].float(), positions[None], mode="bilinear", align_corners=False)
    return warped[0].round().clamp(0, 255).to(torch.uint8)


def _change_light(image: UInt8[Tensor, "3 H W"], change: ImageChange) -> UInt8[Tensor, "3 H W"]:
    """Change brightness, then contrast, then saturation."""
    light = image.float() * change.brightness
    middle = _grey(light).mean()
    light = (light - middle) * change.contrast + middle
    grey = _grey(light)
    return ((light - grey) * change.saturation + grey).round().clamp(0, 255).to(torch.uint8)


def _grey(image: Float[Tensor, "3 H W"]) -> Float[Tensor, "1 H W"]:
    """Return the luma of ITU-R BT.601."""
    return (image * image.new_tensor((0.299, 0.587, 0.114))[:, None, None]).sum(0, keepdim=True)
