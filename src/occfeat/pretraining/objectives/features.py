"""Distillation: predict the teacher's feature of each occupied voxel (paper section 3).

Features of an image model are similar to each other, so a constant prediction already has a high cosine.
Centred targets contain only the differences between voxels, and maybe only those between key frames (this
project's options).

Axes: `B` key frames, `N` cameras, `D` channels per voxel, `X Y Z` voxels, `K` chosen voxels, `F` teacher
channels, `h w` teacher feature map.
"""

import logging
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Int64
from torch import Tensor, nn

from occfeat.data.sample.cameras import Cameras
from occfeat.errors import TrainingError
from occfeat.geometry.camera import project, visible_in
from occfeat.geometry.frames import invert
from occfeat.geometry.grid import VoxelGrid
from occfeat.machine.waiting import entries_up_to, numbers_like, true_entries
from occfeat.models.lifting.sampling import bilinear_taps
from occfeat.pretraining.objectives.contract import (
    TEACHER,
    ComparedFeatures,
    HeadShape,
    Objective,
    Reads,
    Term,
)
from occfeat.pretraining.objectives.evidence import Evidence
from occfeat.pretraining.objectives.position import PositionSurvey, UsualMaps
from occfeat.pretraining.trunk import unsplat
from occfeat.settings.sections import Center
from occfeat.training.step import Ratio, ratio_of

logger = logging.getLogger(__name__)
OF_TEACHERS = ("first", "second")
"""Names of two teachers in metrics."""


@dataclass(frozen=True)
class FeatureTarget:
    """Teacher features of the occupied voxels that are visible in at least one camera."""

    cells: Int64[Tensor, "K 4"]
    """Each voxel as (key frame, x, y, z)."""
    features: Float[Tensor, "K F"]
    """Mean teacher feature over the cameras that see the centre of the voxel."""


class FeatureOutput(nn.Module):
    """Predicts teacher features of chosen voxels.

    Args:
        shape: Sizes of the network.
        own_channels: Channels per voxel of a separate branch on the BEV features (this project's option).
            None: read the voxels of the trunk, as in the paper.
        center: What predictions and targets are relative to.
    """

    center: Tensor | None
    """Mean target of the training set; None if features are not centred."""
    position: Tensor | None
    """Mean feature (N, F, h, w) of each patch of each camera; of several data sets (S, N, F, h, w). None if
    it is not subtracted."""

    def __init__(self, shape: HeadShape, own_channels: int | None, *, center: Center) -> None:
        super().__init__()
        self.heights = shape.heights
        self.branch = (
            None
            if own_channels is None
            else nn.Conv2d(shape.bev_channels, own_channels * shape.heights, kernel_size=1)
        )
        self.activation = nn.Identity() if own_channels is None else nn.GELU()
        teacher = shape.teacher
        self.parts, self.data_sets = teacher.parts, teacher.data_sets
        widths = torch.tensor(teacher.parts) if len(teacher.parts) > 1 else None
        self.register_buffer("widths", widths)  # read when a checkpoint is restored
        self.linear = nn.Linear(own_channels or shape.voxel_channels, teacher.channels)
        self.register_buffer("center", None if center == "none" else torch.zeros(teacher.channels))
        maps: tuple[int, ...] = (teacher.cameras, teacher.channels, *teacher.patches)
        if len(teacher.data_sets) > 1:
            maps = (len(teacher.data_sets), *maps)
        self.register_buffer("position", torch.zeros(maps) if center == "position" else None)

    def forward(self, read: Float[Tensor, "B C X Y *Z"], cells: Int64[Tensor, "K 4"]) -> Float[Tensor, "K F"]:
        """Predict the features of voxels (key frame, x, y, z) from the tensor that the objective reads.

        Each prediction depends only on its own voxel. The chosen voxels are therefore gathered before they
        are projected to the teacher's width, which takes a fraction of the memory.
        """
        key_frame, x, y, z = cells.unbind(1)
        return self.linear(self.activation(self.own_voxels(read)[key_frame, :, x, y, z]))

    def own_voxels(self, read: Float[Tensor, "B C X Y *Z"]) -> Float[Tensor, "B D X Y Z"]:
        """Return the voxels that features are read from, before activation."""
        if self.branch is None:
            return read
        return unsplat(self.branch(read), self.heights).permute(0, 1, 3, 4, 2)

    def relative(self, features: Float[Tensor, "K F"]) -> Float[Tensor, "K F"]:
        """Subtract the centre from teacher features, which makes them comparable with predictions."""
        return features if self.center is None else features - self.center


@dataclass(frozen=True)
class Features(Objective[FeatureOutput, FeatureTarget]):
    """Predict the teacher's feature of each visible occupied voxel."""

    weight: float
    own_channels: int | None = None
    """Channels per voxel of a separate branch. None: read the voxels of the trunk."""
    center: Center = "none"
    """What to subtract from every target: the mean over the training set, and that of its patch."""
    survey: int = 32
    """Number of key frames for these means; 32 of nuScenes give about 100 000 targets."""
    ratio: float | None = None
    name = "features"
    needs = TEACHER

    @property
    def centered(self) -> bool:
        """Whether a mean is subtracted from targets."""
        return self.center != "none"

    @property
    def reads(self) -> Reads:  # type: ignore[override] # depends on the settings of the objective
        """The voxels, or the BEV features for a separate branch."""
        return "voxels" if self.own_channels is None else "bev"

    def build_output(self, shape: HeadShape) -> FeatureOutput:
        """Build the separate branch, if any, and a linear layer to the teacher's width."""
        return FeatureOutput(shape, self.own_channels, center=self.center)

    def target(self, evidence: Evidence) -> FeatureTarget:
        """Return the teacher features of the occupied voxels."""
        return feature_target(
            evidence.occupied,
            evidence.teacher_maps,
            evidence.teacher_cameras,
            evidence.grid,
            most=len(evidence.points),
        )

    def loss(self, output: FeatureOutput, read: Tensor, target: FeatureTarget) -> Term:
        """Return the negative mean cosine as loss, and the cosine as metric, also of each of two teachers."""
        predicted, taught = output(read, target.cells), output.relative(target.features)
        each = cosines(predicted, taught, output.parts)
        similarity = torch.stack(each).mean(dim=0)
        name = "centered_cosine" if self.centered else "cosine"
        metrics = {name: _mean_of_voxels(similarity)}
        if len(each) > 1:
            named = zip(OF_TEACHERS, each, strict=True)
            metrics |= {f"{name}/{which}": _mean_of_voxels(one) for which, one in named}
        return Term(feature_loss(similarity), metrics)

    def of_key_frames(self, target: FeatureTarget, chosen: Int64[Tensor, " b"]) -> FeatureTarget:
        """Return the features of some key frames of a batch."""
        mine = torch.isin(target.cells[:, 0], chosen)
        cells = target.cells[mine]
        cells[:, 0] = torch.searchsorted(chosen, cells[:, 0].contiguous())
        return FeatureTarget(cells, target.features[mine])

    def prepare(self, output: FeatureOutput, survey: Iterable[Evidence]) -> dict[str, Any]:
        """Set the means of the output, if any, and log the cosine of the constant-prediction baseline."""
        positions = None if output.position is None else _surveys(output.position, output.data_sets)
        common = common_feature(self._surveyed(survey, positions), output.parts)
        text = "teacher: the constant-prediction baseline has a mean cosine of %.3f"
        logger.info(text, common.constant_cosine)
        found: dict[str, Any] = {"constant_cosine": common.constant_cosine}
        if output.position is not None and positions is not None:
            means = torch.stack([positions[name].mean() for name in output.data_sets])
            output.position.copy_(means.view(output.position.shape))
            shares = {name: survey.explained() for name, survey in positions.items()}
            found["position_share"] = share = shares if len(shares) > 1 else shares[output.data_sets[0]]
            logger.info("teacher: share of the variance that camera and patch explain: %s", share)
            common = common_feature(self._surveyed(survey))  # without the position's mean from now on
        if output.center is not None:
            output.center.copy_(common.mean)
        return {**found, "mean": common.mean.tolist()}

    def _surveyed(
        self, survey: Iterable[Evidence], positions: dict[str, PositionSurvey] | None = None
    ) -> Iterator[FeatureTarget]:
        """Yield the targets of a survey; add its feature maps to those by position of their data sets."""
        for evidence in survey:
            for name, of_set in ({} if positions is None else positions).items():
                maps, present = evidence.own_maps()
                mine = torch.tensor([of == name for of in evidence.data_sets], device=maps.device)
                of_set.add(maps[mine], present[mine])
            yield self.target(evidence)

    def usual_maps(self, output: FeatureOutput) -> UsualMaps | None:
        """Return the mean feature of each patch of each camera, if it is subtracted."""
        if output.position is None:
            return None
        return UsualMaps(output.data_sets, output.position.view(-1, *output.position.shape[-4:]))

    def features_at(
        self, output: FeatureOutput, read: Tensor, cells: Int64[Tensor, "K 4"]
    ) -> Float[Tensor, "K F"]:
        """Return the predicted features of voxels (key frame, x, y, z), relative to the centre, if any."""
        predicted: Tensor = output(read, cells)
        return predicted

    def compare_features(self, output: FeatureOutput, read: Tensor, evidence: Evidence) -> ComparedFeatures:
        """Return predicted and true features of all voxels with a target, relative to the centre, if any."""
        target = self.target(evidence)
        predicted = self.features_at(output, read, target.cells)
        taught = output.relative(target.features)
        return ComparedFeatures(target.cells, predicted, taught, self.centered)


def _surveys(position: Tensor, data_sets: Iterable[str]) -> dict[str, PositionSurvey]:
    """Return an empty survey of the maps of each data set, by its name."""
    return {name: PositionSurvey(position.shape[-4:]) for name in data_sets}


@dataclass(frozen=True)
class CommonFeature:
    """Statistics of feature targets, pooled over all their voxels."""

    mean: Float[Tensor, " F"]
    """Mean target."""
    constant_cosine: float
    """Constant-prediction baseline: the highest mean cosine of one vector with all targets."""


def common_feature(targets: Iterable[FeatureTarget], parts: tuple[int, ...] = ()) -> CommonFeature:
    """Pool the targets of several batches.

    The mean over targets f of cos(u, f) is the product of u / |u| and the mean of f / |f|, so its largest
    value is the length of that mean. Several parts of features have a mean each, and their lengths are
    averaged.

    Args:
        targets: The targets of each batch.
        parts: Channels of each part; empty for a single one.

    Raises:
        TrainingError: There is no target.
    """
    total = direction = torch.zeros(())
    count, device = 0, total.device
    for target in targets:
        device = target.features.device
        features = target.features.cpu().double()  # not every device supports float64
        total = total + features.sum(dim=0)
        split = torch.split(features, list(parts or features.shape[1:]), dim=1)
        directions = [F.normalize(part, dim=1) for part in split]
        direction = direction + torch.cat(directions, dim=1).sum(dim=0)
        count += len(features)
    if count == 0:
        hint = "Check the calibration with `occfeat view --calibration`, and the bounds of the grid."
        raise TrainingError("No occupied voxel is visible in a camera: nothing to distil.", hint=hint)
    lengths = [float(part.norm()) for part in torch.split(direction / count, list(parts or direction.shape))]
    return CommonFeature((total / count).float().to(device), sum(lengths) / len(lengths))


def cosine(predicted: Float[Tensor, "K F"], target: Float[Tensor, "K F"]) -> Float[Tensor, " K"]:
    """Return the cosine of each predicted feature and its target, -1 to 1; 0 if one of them is zero.

    The result equals that of `F.cosine_similarity`, without temporary arrays of the size of the features.
    """
    with torch.autocast(predicted.device.type, enabled=False):
        predicted, target = predicted.float(), target.float()
        product = torch.linalg.vecdot(predicted, target)
        lengths = torch.linalg.vector_norm(predicted, dim=-1) * torch.linalg.vector_norm(target, dim=-1)
        return product / lengths.clamp_min(1e-8)


def cosines(
    predicted: Float[Tensor, "K F"], target: Float[Tensor, "K F"], parts: tuple[int, ...]
) -> list[Float[Tensor, " K"]]:
    """Return the cosine of each part of the features, such as those of two teachers."""
    split = [torch.split(features, list(parts), dim=1) for features in (predicted, target)]
    return [cosine(*pair) for pair in zip(*split, strict=True)]


def _mean_of_voxels(similarity: Float[Tensor, " K"]) -> Ratio:
    """Return a metric that is averaged over voxels."""
    return ratio_of(similarity.detach().sum(), len(similarity))


def feature_loss(similarity: Float[Tensor, " K"]) -> Float[Tensor, ""]:
    """Return the negative cosine, averaged over the voxels with a target; 0 if there are none."""
    return -similarity.sum() / max(1, len(similarity))


def feature_target(
    occupied: Bool[Tensor, "B X Y Z"],
    maps: Float[Tensor, "BN F h w"],
    cameras: Cameras,
    grid: VoxelGrid,
    most: int | None = None,
) -> FeatureTarget:
    """Compute the mean teacher feature at the projected centre of each occupied voxel.

    Invisible voxels are skipped. Features are interpolated bilinearly between patch centres, and constant
    within half a patch of the image border.

    Args:
        occupied: The occupancy target.
        maps: Teacher features of all images, ordered by key frame and camera.
        cameras: Calibration of the teacher's images, in the ego frame of the points.
        grid: The voxels.
        most: At least the number of occupied voxels, which spares a GPU counting them. None: any number.
    """
    cells = entries_up_to(occupied, occupied.numel() if most is None else most)
    pixels, _, seen = project_cells(cells, cameras, grid)
    return mean_features(cells, pixels, seen, maps, cameras.image_size)


def mean_features(
    cells: Int64[Tensor, "K 4"],
    pixels: Float[Tensor, "K N 2"],
    seen: Bool[Tensor, "K N"],
    maps: Float[Tensor, "BN F h w"],
    image_size: tuple[int, int],
) -> FeatureTarget:
    """Compute the mean teacher feature of voxels over the cameras that see them; drop voxels that none sees.

    Args:
        cells: Each voxel as (key frame, x, y, z).
        pixels: Projection of its centre into each camera.
        seen: Whether each camera sees it.
        maps: Teacher features of all images, ordered by key frame and camera.
        image_size: (height, width) in pixels of these images.
    """
    cameras_per_voxel = seen.sum(dim=1)
    kept = cameras_per_voxel > 0
    pairs, visible = torch.stack((cameras_per_voxel.sum(), kept.sum())).tolist()
    voxel, camera = true_entries(seen, pairs).unbind(1)  # sorted by voxel
    image = cells[voxel, 0] * seen.shape[1] + camera
    height, width = maps.shape[2:]
    patches_per_px = numbers_like((width / image_size[1], height / image_size[0]), pixels)
    patch = (pixels[voxel, camera] * patches_per_px - 0.5).T
    tap, weight = bilinear_taps(patch, image, (height, width))
    weight = weight / cameras_per_voxel[voxel, None]
    rows = true_entries(kept, visible)[:, 0]
    taps_per_voxel = 4 * cameras_per_voxel[rows]
    features = F.embedding_bag(
        tap.flatten(),
        maps.float().permute(0, 2, 3, 1).reshape(-1, maps.shape[1]),
        offsets=taps_per_voxel.cumsum(0) - taps_per_voxel,
        per_sample_weights=weight.flatten(),
        mode="sum",
    )
    return FeatureTarget(cells[rows], features)


def seen_cells(occupied: Bool[Tensor, "B X Y Z"], cameras: Cameras, grid: VoxelGrid) -> Int64[Tensor, "K 4"]:
    """Return the occupied voxels whose centre is visible in a camera, each as (key frame, x, y, z)."""
    cells = occupied.nonzero()
    return cells[project_cells(cells, cameras, grid)[2].any(dim=1)]


def project_cells(
    cells: Int64[Tensor, "K 4"], cameras: Cameras, grid: VoxelGrid
) -> tuple[Float[Tensor, "K N 2"], Float[Tensor, "K N"], Bool[Tensor, "K N"]]:
    """Return pixel and depth of each voxel's centre in each camera of its key frame, and if it is visible."""
    with torch.autocast(cells.device.type, enabled=False):  # pixels need full precision
        return _project_exactly(cells, cameras, grid)


def _project_exactly(
    cells: Int64[Tensor, "K 4"], cameras: Cameras, grid: VoxelGrid
) -> tuple[Float[Tensor, "K N 2"], Float[Tensor, "K N"], Bool[Tensor, "K N"]]:
    """Project voxels in full float32 precision; see `project_cells`."""
    key_frame = cells[:, 0]
    lower_m, cell_m = (numbers_like(size, cameras.intrinsics) for size in (grid.lower_m, grid.cell_m))
    centers_ego = lower_m + (cells[:, 1:] + 0.5) * cell_m
    camera_from_ego = invert(cameras.ego_from_camera)[key_frame]  # (K, N, 4, 4)
    rotation, translation_m = camera_from_ego[..., :3, :3], camera_from_ego[..., :3, 3]
    centers_camera = (rotation @ centers_ego[:, None, :, None])[..., 0] + translation_m
    lenses = None if cameras.lenses is None else cameras.lenses[key_frame]
    pixels, depth_m = project(cameras.intrinsics[key_frame], centers_camera[:, :, None], lenses)
    seen = visible_in(cameras.image_size, pixels, depth_m)[..., 0]
    return pixels[:, :, 0], depth_m[..., 0], seen & cameras.present[key_frame] & (key_frame >= 0)[:, None]
