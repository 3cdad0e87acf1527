"""Sections of settings, as frozen values that are checked when they are made.

This module imports no torch, so that `--help` answers at once. Every setting carries its documentation as a
docstring, which is also its help text on the command line. Sizes are (height, width) in pixels.
"""

from pathlib import Path
from typing import Annotated, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Discriminator, Field, Tag, model_validator

Positive = Annotated[int, Field(ge=1)]
Few = Annotated[int, Field(ge=1, le=1000)]
NotNegative = Annotated[float, Field(ge=0)]
ImageSize = tuple[Positive, Positive]
InputPath = Annotated[Path, AfterValidator(Path.absolute)]
"""Written down absolute, so that a run can be resumed from another folder."""


class Strict(BaseModel):
    """Frozen settings that refuse names they do not know."""

    model_config = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True, allow_inf_nan=False)


class ViewConfig(Strict):
    """What is read of a key frame."""

    cameras: tuple[str, ...] = ()
    """Camera channels, in this order. Empty: all the set has, front first and then clockwise."""
    image_size: ImageSize = (224, 400)
    """Height and width of the student's images."""
    sweeps: Positive = 1
    """LiDAR sweeps joined into one cloud: the key frame's and those before it. The paper uses 1."""
    compensate_ego_motion: bool = True
    """Count the ego motion between the camera's and the LiDAR's time stamps into `ego_from_camera`."""
    ego_radius_m: NotNegative = 1.0
    """LiDAR returns nearer than this to the sensor, seen from above, are the car itself."""


class GridConfig(Strict):
    """The voxels around the car, in the ego frame (x forward, y left, z up). Defaults: Simple-BEV's."""

    lower_m: tuple[float, float, float] = (-50.0, -50.0, -4.5)
    """Smallest x, y and z."""
    upper_m: tuple[float, float, float] = (50.0, 50.0, 5.5)
    """Largest x, y and z."""
    cell_m: tuple[float, float, float] = (0.5, 0.5, 1.25)
    """Size of a voxel along x, y and z."""


class AugmentConfig(Strict):
    """Random changes of training samples; calibration, points and labels follow. Default: none."""

    scale: tuple[float, float] = (1.0, 1.0)
    """Range of the zoom of each image before it is cropped to size; below 1 pads with black."""
    shift: NotNegative = 0.0
    """Largest shift of the crop, as a share of the image size."""
    image_rotation_deg: NotNegative = 0.0
    """Largest rotation of each image, either way."""
    image_flip: bool = False
    """Mirror images left to right with probability 1/2, each on its own."""
    brightness: NotNegative = 0.0
    """Largest relative change of brightness."""
    contrast: NotNegative = 0.0
    """Largest relative change of contrast."""
    saturation: NotNegative = 0.0
    """Largest relative change of saturation."""
    bev_rotation_deg: NotNegative = 0.0
    """Largest rotation of the ego frame about z, either way."""
    bev_flip: bool = False
    """Mirror the ego frame along x and along y, each with probability 1/2."""

    @model_validator(mode="after")
    def _check(self) -> "AugmentConfig":
        if not 0 < self.scale[0] <= self.scale[1]:
            raise ValueError(f"scale must be two numbers above 0, the smaller one first, not {self.scale}")
        return self


class ImageStudentConfig(Strict):
    """What the students that are built here have in common: an image network, and their widths."""

    kind: str
    """Which student this is."""
    backbone: str = "efficientnet_b0"
    """timm name of the image network: convolutional with `features_only`, or a plain vision transformer."""
    backbone_weights: str = "hub"
    """`hub` (timm's pretrained weights), `none` (random), `packaged` (the weights of `make demo`, for
    `tf_efficientnet_lite0` and `vit_small_patch14_dinov2`) or the path of a file of timm weights (for vision
    transformers also in Meta's format)."""
    freeze_stem: bool = False
    """Keep the backbone's layers up to stride 8 as they are, statistics included; takes less time."""
    freeze_backbone: bool = False
    """Keep the whole backbone as it is; the neck and all behind it learn."""
    lora_rank: Annotated[int, Field(ge=0, le=1000)] = 0
    """For vision transformers: learn updates of this rank in the attention, keep the rest (LoRA). 0: none."""
    image_channels: Positive = 128
    """Channels of the image features that are lifted."""
    bev_channels: Positive = 128
    """Channels of the BEV features."""

    @model_validator(mode="after")
    def _check(self) -> "ImageStudentConfig":
        kept = {
            "freeze_stem": self.freeze_stem,
            "freeze_backbone": self.freeze_backbone,
            "lora_rank": self.lora_rank,
        }
        if self.backbone_weights == "none" and any(kept.values()):
            name = next(name for name, value in kept.items() if value)
            raise ValueError(f"{name} would keep random weights: leave it out, or give backbone_weights")
        return self


class SimpleBevConfig(ImageStudentConfig):
    """SimpleBEV: image features averaged at voxel centres, then a BEV network (arXiv 2206.07959)."""

    kind: Literal["simplebev"] = "simplebev"
    """Which student this is: `simplebev`, `bevformer`, `lss` or `simplebev-published`."""


class BevFormerConfig(ImageStudentConfig):
    """BEVFormer, single frame: BEV queries attend to the images, then a BEV network (arXiv 2203.17270)."""

    kind: Literal["bevformer"] = "bevformer"
    """Which student this is: `simplebev`, `bevformer`, `lss` or `simplebev-published`."""
    layers: Few = 6
    """Layers of self-attention, cross-attention and feed-forward network."""
    heads: Few = 8
    """Heads of every attention; `bev_channels` is a multiple of it."""
    heights: Few = 4
    """Reference points per pillar, spread evenly over the heights of the grid."""
    points_per_height: Few = 2
    """Image positions that each head reads around each reference point."""

    @model_validator(mode="after")
    def _check_channels(self) -> "BevFormerConfig":
        if self.bev_channels % self.heads or self.bev_channels % 2:
            raise ValueError(
                f"bev_channels {self.bev_channels} must be even and a multiple of the {self.heads} heads"
            )
        return self


class LssConfig(ImageStudentConfig):
    """LSS (lift, splat): a depth distribution per pixel spreads image features in BEV (arXiv 2008.05711)."""

    kind: Literal["lss"] = "lss"
    """Which student this is: `simplebev`, `bevformer`, `lss` or `simplebev-published`."""
    depth_m: tuple[Annotated[float, Field(gt=0)], Annotated[float, Field(gt=0)]] = (4.0, 45.0)
    """Smallest and largest depth along the optical axis (the paper's)."""
    depth_bins: Few = 41
    """Bins of equal size between them (the paper's: 1 m)."""

    @model_validator(mode="after")
    def _check_depth(self) -> "LssConfig":
        if not self.depth_m[0] < self.depth_m[1]:
            raise ValueError(f"depth_m must be two numbers, the smaller one first, not {self.depth_m}")
        return self


class PublishedSimpleBevConfig(ImageStudentConfig):
    """The network of Simple-BEV's authors, for the weights they published (`occfeat convert`)."""

    kind: Literal["simplebev-published"] = "simplebev-published"
    """Which student this is: `simplebev`, `bevformer`, `lss` or `simplebev-published`."""
    backbone: str = "resnet101"
    """timm name of the image network; the published weights are of `resnet101`."""
    sampling: Literal["published", "aligned"] = "published"
    """Where features are read: `published` as the authors' code does, up to a cell too far to the right and
    bottom, or `aligned`, where the voxel really is."""


class OwnStudentConfig(Strict):
    """A module of your own, which Python code hands over as `student=…`; settings cannot build it."""

    kind: Literal["own"] = "own"
    """Which student this is."""
    name: str = "Module"
    """Class of the module, for messages only."""


STUDENTS: dict[str, type[Strict]] = {
    "simplebev": SimpleBevConfig,
    "bevformer": BevFormerConfig,
    "lss": LssConfig,
    "simplebev-published": PublishedSimpleBevConfig,
    "own": OwnStudentConfig,
}
"""The settings of each kind of student."""


def _kind_of(student: object) -> object:
    """The kind of a student's settings; those that do not say it are SimpleBEV's."""
    return student.get("kind", "simplebev") if isinstance(student, dict) else getattr(student, "kind", None)


StudentConfig = Annotated[
    Annotated[SimpleBevConfig, Tag("simplebev")]
    | Annotated[BevFormerConfig, Tag("bevformer")]
    | Annotated[LssConfig, Tag("lss")]
    | Annotated[PublishedSimpleBevConfig, Tag("simplebev-published")]
    | Annotated[OwnStudentConfig, Tag("own")],
    Discriminator(
        _kind_of,
        custom_error_type="unknown_student",
        custom_error_message=f"There is no such student; the kinds are {', '.join(STUDENTS)}",
    ),
]
"""Settings of a student. Each kind has its own, so that options of one cannot be given to another."""


class TeacherConfig(Strict):
    """The frozen image foundation model whose features the student learns to predict."""

    name: str = "vit_small_patch14_dinov2.lvd142m"
    """timm name of a vision transformer, or `packaged` for the DINOv2-derived ViT-S/14 of `make demo`."""
    weights: str = "hub"
    """`hub`, or the path of a local file in timm's or Meta's format."""
    image_size: ImageSize = (224, 392)
    """Height and width the teacher sees; whole multiples of its patch."""
    block: int | None = None
    """Block whose tokens are used, counted from 0. None: the last one (packaged teacher: block 10)."""
    normalize: bool = True
    """Apply the network's final LayerNorm to the tokens."""


class HeadConfig(Strict):
    """The pretraining head, which is thrown away afterwards (paper section 3)."""

    channels: Positive = 32
    """Channels per voxel after unsplatting (this project's choice)."""
    blocks: Few = 1
    """3-D convolution blocks."""
    feature_channels: Positive | None = None
    """Channels per voxel of a branch of their own for the features, without 3-D convolutions (this project's
    option). None: occupancy and features are read from the same channels, as in the paper."""


class QueryConfig(Strict):
    """Query points near LiDAR returns, whose occupancy Img-ALSO predicts."""

    returns: Positive = 2048
    """Returns that are drawn per key frame and step; each gives three queries (this project's choice)."""
    distance_m: Annotated[float, Field(gt=0)] = 0.1
    """Largest distance of a query behind its return, and before it (ALSO's)."""


class PretrainLossConfig(Strict):
    """Weights of the losses; the total is the weighted sum. Defaults: the paper's."""

    occupancy: NotNegative = 1.0
    """Weight of the binary cross-entropy. 0: distillation only."""
    unknown: Literal["empty", "ignore"] = "empty"
    """Voxels that no LiDAR ray crosses and that hold no return: `empty` as in the paper, or left out of the
    occupancy loss and its IoU (`ignore`, this project's option)."""
    features: NotNegative = 0.01
    """Weight of the negative cosine similarity, lambda in the paper. 0: occupancy only, no teacher."""
    center_features: bool = False
    """Take the mean over the training set off every feature target first (this project's option)."""
    queries: NotNegative = 0.0
    """Weight of the binary cross-entropy at query points. 1, and occupancy and features 0: Img-ALSO."""
    depth: NotNegative = 0.0
    """Weight of the cross-entropy of the student's depth and the LiDAR's; for LSS only."""

    @model_validator(mode="after")
    def _check(self) -> "PretrainLossConfig":
        if self.occupancy == self.features == self.queries == 0:
            raise ValueError("all weights are 0: there is nothing to learn")
        if self.unknown == "ignore" and self.occupancy == 0:
            raise ValueError("unknown voxels can be left out of an occupancy loss only: occupancy is 0")
        return self


class OptimConfig(Strict):
    """AdamW with a one-cycle schedule (Simple-BEV's defaults)."""

    epochs: Positive = 50
    """Passes over the training key frames."""
    batch_size: Positive = 16
    """Key frames per optimiser step, over all devices."""
    micro_batch_size: Positive | None = None
    """Key frames in memory at once on each device; gradients accumulate. None: the whole batch."""
    learning_rate: Annotated[float, Field(gt=0)] = 3e-4
    """Highest learning rate of the cycle."""
    weight_decay: NotNegative = 1e-7
    """Decoupled weight decay."""
    warmup: Annotated[float, Field(gt=0, lt=1)] = 0.05
    """Share of the steps in which the learning rate rises."""
    clip_norm: NotNegative = 5.0
    """Largest gradient norm; 0 does not clip."""

    @model_validator(mode="after")
    def _check(self) -> "OptimConfig":
        if self.micro_batch_size is not None and self.batch_size % self.micro_batch_size:
            raise ValueError(f"batch_size {self.batch_size} is not a multiple of {self.micro_batch_size}")
        return self


class EngineConfig(Strict):
    """How a run is executed; nothing here changes what is learned but `seed` and `precision`."""

    seed: Annotated[int, Field(ge=0)] = 0
    """Seed of weights, order and augmentation."""
    device: Literal["auto", "cpu", "cuda", "mps"] = "auto"
    """Where to compute."""
    devices: Positive = 1
    """Processes on each machine, one per device."""
    nodes: Positive = 1
    """Machines; torchrun or SLURM starts the same command on all of them."""
    precision: Literal["auto", "32-true", "bf16-mixed"] = "auto"
    """`auto`: bf16-mixed on GPUs that have it, else float32."""
    workers: Annotated[int, Field(ge=0)] = 4
    """Processes that load data, at most one per core; 0 loads in the training process."""
    deterministic: bool = False
    """Prefer deterministic algorithms, some of which are slower on GPUs; torch warns where it has none."""
    log_every: Positive = 10
    """Optimiser steps per line of `metrics.jsonl`."""
    checkpoint_minutes: NotNegative = 10.0
    """Time between checkpoints; 0 saves one after every step."""
    max_broken: Annotated[int, Field(ge=0)] = 0
    """Broken key frames that may be skipped in a run before it stops."""
    max_skipped: Annotated[int, Field(ge=0)] = 0
    """Steps of a run that may be left out because a loss or gradient is not finite, before it stops."""
    max_dead_workers: Annotated[int, Field(ge=0)] = 3
    """Loading processes that may die, for lack of memory say, before a run stops; others take over."""


class DataConfig(Strict):
    """A data set on disk."""

    root: Path
    """Dataset folder: for nuScenes, the one that holds `v1.0-trainval`, `samples` and so on."""
    version: str | None = None
    """Name of the folder with the tables. None: the only one there is."""
