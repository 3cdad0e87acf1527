"""The released network: from images and calibration to BEV probabilities."""

from collections.abc import Sequence

import torch
from jaxtyping import Bool, Float, UInt8
from torch import Tensor, nn

from occfeat.data.images import resize, with_planes
from occfeat.data.sample.cameras import Cameras
from occfeat.errors import SettingsError
from occfeat.geometry import camera
from occfeat.geometry.distortion import stack_lenses
from occfeat.geometry.frames import is_isometry
from occfeat.geometry.grid import BevGrid
from occfeat.geometry.ground import describe_stand, sees_ground
from occfeat.geometry.lens import Lens
from occfeat.geometry.pinhole import is_pinhole
from occfeat.segmentation.task import Segmenter

GROUND_POINTS = 201
"""Points per side of the square of ground, of which each camera must see at least one."""


class BevModel(nn.Module):
    """A fine-tuned network with everything needed for inference.

    Args:
        segmenter: Student and head.
        classes: Classes in the order of its outputs.
        image_size: (height, width) in pixels of training images, to which images are resized.
        grid: The BEV cells of its output.
    """

    def __init__(
        self, segmenter: Segmenter, classes: tuple[str, ...], image_size: tuple[int, int], grid: BevGrid
    ) -> None:
        super().__init__()
        self.segmenter = segmenter
        self.classes = classes
        self.image_size = image_size
        self.grid = grid
        self.eval()

    @torch.inference_mode()
    def forward(self, images: UInt8[Tensor, "B N 3 H W"], cameras: Cameras) -> Float[Tensor, "B K X Y"]:
        """Return the probability of each class in each cell, 0 to 1, for images of the student's size."""
        logits: Tensor = self.segmenter(images, cameras)
        return logits.float().sigmoid()

    def predict(
        self,
        images: Sequence[UInt8[Tensor, "3 _ _"]] | UInt8[Tensor, "N 3 h w"],
        intrinsics: Float[Tensor, "N 3 3"],
        ego_from_camera: Float[Tensor, "N 4 4"],
        lenses: Sequence[Lens] | None = None,
    ) -> dict[str, Float[Tensor, "X Y"]]:
        """Predict all classes in one pass, from your own images of any number of cameras.

        Args:
            images: RGB images of any size, which can differ between cameras.
            intrinsics: Matrices in pixels of these images (centres at i + 0.5).
            ego_from_camera: Camera frame (x right, y down, z forward) to ego frame (x forward, y left, z up),
                in metres, at one common time.
            lenses: The lens of each camera. None: all are pinholes.

        Returns:
            The probability of each class in each BEV cell, 0 to 1, by the names in `classes`. The first index
            grows forward, the second to the left; see `grid`.

        Raises:
            SettingsError: A value is not an image, the numbers of cameras differ, a calibration is
                impossible, or a camera sees no ground within reach of the grid.
        """
        probabilities: Tensor = self(*self.prepare(images, intrinsics, ego_from_camera, lenses))
        return dict(zip(self.classes, probabilities[0], strict=True))

    def prepare(
        self,
        images: Sequence[UInt8[Tensor, "3 _ _"]] | UInt8[Tensor, "N 3 h w"],
        intrinsics: Float[Tensor, "N 3 3"],
        ego_from_camera: Float[Tensor, "N 4 4"],
        lenses: Sequence[Lens] | None = None,
    ) -> tuple[UInt8[Tensor, "1 N 3 H W"], Cameras]:
        """Resize images to the student's size, and adapt the intrinsics."""
        _require_images(images)
        _require_calibration(len(images), intrinsics, ego_from_camera)
        _require_lenses(len(images), lenses)
        intrinsics, ego_from_camera = intrinsics.cpu(), ego_from_camera.cpu()
        device = next(self.parameters()).device
        resized, follows = [], []
        for image in images:
            old_size = (image.shape[-2], image.shape[-1])
            resized.append(with_planes(resize(image.cpu(), self.image_size)))  # GPUs cannot resize integers
            follows.append(camera.resize(old_size, self.image_size))
        present: Bool[Tensor, "1 N"] = torch.ones(1, len(resized), dtype=torch.bool)
        cameras = Cameras(
            intrinsics=(torch.stack(follows) @ intrinsics.double()).float()[None],
            ego_from_camera=ego_from_camera.float()[None],
            present=present,
            image_size=self.image_size,
            lenses=None if (stacked := stack_lenses(lenses or ())) is None else stacked[None],
        )
        _require_ground(cameras.of_key_frame(0), self.grid)
        return torch.stack(resized)[None].to(device), cameras.to(device)


def _require_images(images: Sequence[object] | Tensor) -> None:
    """Refuse a value that is not an RGB image."""
    for camera_number, image in enumerate(images):
        if not isinstance(image, Tensor):
            what = f"a {type(image).__name__}"
        elif image.dtype != torch.uint8 or image.ndim != 3 or len(image) != 3 or 0 in image.shape:
            what = f"{image.dtype} of shape {tuple(image.shape)}"
        else:
            continue
        raise SettingsError(
            f"Expected a uint8 tensor of shape (3, height, width) as image {camera_number}, got {what}.",
            hint="Give RGB from 0 to 255, channels first, such as torch.from_numpy(array).movedim(-1, 0).",
        )


def _require_calibration(count: int, intrinsics: object, ego_from_camera: object) -> None:
    """Refuse matrices that are not intrinsics or rigid transforms, or not one of each per image."""
    if not (isinstance(intrinsics, Tensor) and isinstance(ego_from_camera, Tensor)):
        hint = "Give tensors, such as torch.as_tensor(array)."
        raise SettingsError("Expected tensors as intrinsics and ego_from_camera.", hint=hint)
    if count == 0 or intrinsics.shape != (count, 3, 3) or ego_from_camera.shape != (count, 4, 4):
        raise SettingsError(
            f"{count} images, intrinsics of shape {tuple(intrinsics.shape)} and ego_from_camera of shape "
            f"{tuple(ego_from_camera.shape)} do not belong together.",
            hint="Give one 3x3 matrix and one 4x4 matrix per image.",
        )
    pinhole = is_pinhole(intrinsics.detach().cpu().double().numpy())
    singular = [number for number, usable in enumerate(pinhole) if not usable]
    if singular:
        hint = "Intrinsics are [[fx, 0, cx], [0, fy, cy], [0, 0, 1]] in pixels."
        raise SettingsError(
            f"The intrinsics of camera(s) {singular} are not those of a pinhole camera.", hint=hint
        )
    poses = ego_from_camera.cpu().double()  # some GPUs do not support float64
    rigid = is_isometry(poses, tolerance=1e-3) & (torch.linalg.det(poses[:, :3, :3]) > 0)
    bent = (~rigid).nonzero().flatten().tolist()
    if bent:
        hint = "Give a rotation without mirroring, a translation in metres and a last row (0, 0, 0, 1)."
        raise SettingsError(f"ego_from_camera of camera(s) {bent} is not a rigid transform.", hint=hint)


def _require_lenses(count: int, lenses: object) -> None:
    """Refuse anything but one lens per image, or None."""
    if lenses is None:
        return
    if not isinstance(lenses, Sequence) or not all(isinstance(lens, Lens) for lens in lenses):
        hint = "Make them with occfeat.geometry.lens.Lens."
        raise SettingsError(f"Expected a sequence of Lens as lenses, got {lenses!r:.200}.", hint=hint)
    if len(lenses) != count:
        hint = "Give one lens per image, or None if all cameras are pinholes."
        raise SettingsError(f"Expected {count} lenses for {count} images, got {len(lenses)}.", hint=hint)


def _require_ground(cameras: Cameras, grid: BevGrid) -> None:
    """Refuse a camera that sees no ground within reach of the grid.

    Cameras that look back are accepted even if the grid is only ahead of the car.
    """
    reach_m = max(map(abs, (*grid.lower_m, *grid.upper_m)))
    poses = cameras.ego_from_camera
    sees = sees_ground(
        cameras.intrinsics, poses, cameras.lenses, cameras.image_size, reach_m=reach_m, points=GROUND_POINTS
    )
    blind = (~sees).nonzero().flatten().tolist()
    if blind:
        raise SettingsError(
            f"Camera(s) {blind} see no ground within {reach_m:g} m of the ego origin:",
            first=[f"camera {number} {describe_stand(poses[number])}" for number in blind],
            hint="Give metres, and ego_from_camera, not its inverse. Ego: x forward, y left, z up from "
            "the ground; camera: x right, y down, z forward.",
        )
