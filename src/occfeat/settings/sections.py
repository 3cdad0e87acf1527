"""Sections of settings, as frozen values that are checked when they are built.

This module imports no torch, so that `--help` answers at once. The docstring of a setting is its help text on
the command line. Sizes are (height, width) in pixels.
"""

from typing import Annotated, Literal

from pydantic import Field, model_validator

from occfeat.settings.cells import count_cells
from occfeat.settings.strict import (
    Expert,
    Few,
    ImageSize,
    InputPath,
    NotNegative,
    Positive,
    Strict,
    WeightsSource,
)

DeviceName = Literal["auto", "cpu", "cuda", "mps"]
"""Where to compute; `auto` is the best device there is."""
FeatureType = Literal["int8", "fp16"]
"""How a cache stores features: eight bits per value and a scale per patch, or sixteen bits."""
LabelDraw = Literal["scene", "key-frame"]
"""What is drawn to get few labels: whole scenes or single key frames."""
LoggerName = Literal["tensorboard", "wandb", "mlflow"]
CorruptionName = Literal[
    "CameraCrash", "FrameLost", "MotionBlur", "ColorQuant", "Brightness", "LowLight", "Fog", "Snow"
]
"""nuScenes-C's corruptions of images."""
CorruptionChoice = Literal["all", CorruptionName]
Severity = Literal["easy", "mid", "hard"]


class ViewConfig(Strict):
    """What is read from a key frame."""

    cameras: tuple[str, ...] = ()
    """Camera channels, in this order. Empty: all of the data set, front first, then clockwise."""
    image_size: ImageSize = (224, 400)
    """Height and width of the student's images."""
    sweeps: Positive = 1
    """LiDAR sweeps that are joined: the sweep of the key frame and those before it. The paper uses 1."""
    compensate_ego_motion: Expert[bool] = True
    """Include the ego motion between the time stamps of camera and LiDAR in `ego_from_camera`."""
    ego_radius_m: NotNegative = 1.0
    """LiDAR returns within this horizontal distance of the sensor are dropped: they hit the car itself."""


class GridConfig(Strict):
    """The voxels around the car, in the ego frame (x forward, y left, z up). Defaults: Simple-BEV's."""

    lower_m: tuple[float, float, float] = (-50.0, -50.0, -4.5)
    """Smallest x, y and z."""
    upper_m: tuple[float, float, float] = (50.0, 50.0, 5.5)
    """Largest x, y and z."""
    cell_m: tuple[float, float, float] = (0.5, 0.5, 1.25)
    """Size of a voxel along x, y and z."""

    @model_validator(mode="after")
    def _check(self) -> "GridConfig":
        """Refuse a grid that cannot be built."""
        count_cells(self.lower_m, self.upper_m, self.cell_m)
        return self


class AugmentConfig(Strict):
    """Random changes of training samples, calibration, points and labels included. Default: none."""

    scale: tuple[float, float] = (1.0, 1.0)
    """Range of the zoom of each image before it is cropped to size. Below 1, it is padded with black."""
    shift: Annotated[float, Field(ge=0, le=0.5)] = 0.0
    """Largest shift of the crop, as a share of the image size, at most 0.5."""
    image_rotation_deg: NotNegative = 0.0
    """Largest rotation of each image, either way."""
    image_flip: bool = False
    """Mirror each image left to right with probability 1/2."""
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
    corruptions: tuple[CorruptionChoice, ...] = ()
    """Corruptions of nuScenes-C, one of which a key frame gets at a random severity; `all` for all eight."""
    corruption_probability: Annotated[float, Field(ge=0, le=1)] = 0.5
    """Share of the key frames that are corrupted, if there are `corruptions`."""

    @model_validator(mode="after")
    def _check(self) -> "AugmentConfig":
        """Refuse a range of zooms that is empty or not positive."""
        if not 0 < self.scale[0] <= self.scale[1]:
            raise ValueError(
                f"expected two positive numbers as scale, the smaller one first, got {self.scale}"
            )
        return self


class TeacherConfig(Strict):
    """The frozen image foundation model whose features the student learns to predict."""

    name: str = "vit_small_patch14_dinov2.lvd142m"
    """timm name of a vision transformer, or `packaged` for the DINOv2-derived ViT-S/14 of `make demo`."""
    weights: WeightsSource = "hub"
    """`hub`, or the path of a local file in timm's or Meta's format."""
    image_size: ImageSize = (224, 392)
    """Height and width of the images that the teacher sees, multiples of its patch."""
    block: Expert[int | None] = None
    """Block whose tokens are used, counted from 0. None: the last one (packaged teacher: block 10)."""
    normalize: Expert[bool] = True
    """Apply the network's final LayerNorm to the tokens."""


class HeadConfig(Strict):
    """The pretraining head, which is discarded afterwards (paper section 3)."""

    channels: Expert[Positive] = 32
    """Channels per voxel after unsplatting (this project's choice)."""
    blocks: Expert[Few] = 1
    """Number of blocks of 3-D convolutions."""
    feature_channels: Expert[Positive | None] = None
    """Channels per voxel of a separate branch for the features, without 3-D convolutions (this project's
    option). None: occupancy and features share their channels, as in the paper."""


class QueryConfig(Strict):
    """Query points near LiDAR returns, whose occupancy Img-ALSO predicts."""

    returns: Expert[Positive] = 2048
    """Returns that are drawn per key frame and step. Each gives three queries (this project's choice)."""
    distance_m: Expert[Annotated[float, Field(gt=0)]] = 0.1
    """Largest distance of a query in front of its return or behind it (ALSO's)."""


class PretrainLossConfig(Strict):
    """Weights of the losses, whose weighted sum is minimised. Defaults: the paper's."""

    occupancy: NotNegative = 1.0
    """Weight of the binary cross-entropy. 0: distillation only."""
    unknown: Literal["empty", "ignore"] = "empty"
    """Voxels that no LiDAR ray crosses and that hold no return: `empty` as in the paper, or left out of the
    occupancy loss and its IoU (`ignore`, this project's option)."""
    features: NotNegative = 0.01
    """Weight of the negative cosine similarity, lambda in the paper. 0: occupancy only, no teacher."""
    center_features: bool = False
    """Subtract the mean over the training set from every feature target (this project's option)."""
    center_key_frames: Expert[Positive] = 32
    """Key frames, spread over the training set, from which the mean is computed at the start of a run."""
    queries: NotNegative = 0.0
    """Weight of the binary cross-entropy at query points. 1, and occupancy and features 0: Img-ALSO."""
    depth: NotNegative = 0.0
    """Weight of the cross-entropy of the student's depth and the LiDAR's; for LSS only."""
    own: Expert[tuple[str, ...]] = ()
    """Names of objectives of your own, which Python code passes as `objectives`; written by the run."""

    @model_validator(mode="after")
    def _check(self) -> "PretrainLossConfig":
        """Refuse unknown voxels without the loss that leaves them out."""
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
    """Key frames in memory at once on each device; gradients accumulate. None: the device's share of the
    batch. A loss is the mean over a micro-batch, and a step takes the mean of these losses."""
    learning_rate: Annotated[float, Field(gt=0)] = 3e-4
    """Highest learning rate of the cycle."""
    student_rate: Annotated[float, Field(gt=0, le=1)] = 1.0
    """Learning rate of the student, as a share of that of the head. Below 1, fine-tuning keeps more of what
    the student has learned before, while its new head learns at the full rate."""
    weight_decay: NotNegative = 1e-7
    """Decoupled weight decay."""
    warmup: Expert[Annotated[float, Field(gt=0, lt=1)]] = 0.05
    """Share of the steps in which the learning rate rises."""
    clip_norm: Expert[NotNegative] = 5.0
    """Largest gradient norm; 0 does not clip."""

    @model_validator(mode="after")
    def _check(self) -> "OptimConfig":
        """Refuse a batch that is not made of whole micro-batches."""
        if self.micro_batch_size is not None and self.batch_size % self.micro_batch_size:
            raise ValueError(f"batch_size {self.batch_size} is not a multiple of {self.micro_batch_size}")
        return self


class EngineConfig(Strict):
    """How a run is executed.

    What is learned depends on `seed`, `precision` and the broken key frames that are skipped. It depends a
    little on the number of devices, as the loss of each is the mean over what it holds.
    """

    seed: Annotated[int, Field(ge=0)] = 0
    """Seed of weights, order and augmentation."""
    device: DeviceName = "auto"
    """Where to compute."""
    devices: Positive = 1
    """Number of processes on each machine, one per device."""
    nodes: Positive = 1
    """Number of machines; torchrun or SLURM starts the same command on each."""
    precision: Literal["auto", "32-true", "bf16-mixed"] = "auto"
    """`auto`: bf16-mixed on GPUs that have it, else float32."""
    recompute: bool = False
    """Compute the activations of the blocks that grow with the grid again in the backward pass. This takes
    less memory, most of all for BEVFormer, and more time; the result is the same."""
    workers: Annotated[int, Field(ge=0)] = 4
    """Number of processes that load data, at most one per core; 0 loads in the training process."""
    deterministic: bool = False
    """Prefer deterministic algorithms, some of which are slower on GPUs. torch warns where it has none."""
    log_every: Expert[Positive] = 10
    """Optimiser steps per row of metrics."""
    loggers: tuple[LoggerName, ...] | None = None
    """Loggers that get the metrics as well: `tensorboard`, `wandb`, `mlflow`. The last two write into the run
    folder and send nothing, unless WANDB_MODE is `online` or MLFLOW_TRACKING_URI names a server. None:
    TensorBoard, if it is installed."""
    checkpoint_minutes: NotNegative = 10.0
    """Minutes between checkpoints; 0 saves one after every step."""
    max_broken: Annotated[int, Field(ge=0)] = 0
    """Number of broken key frames that each process may skip before the run stops."""


class DataConfig(Strict):
    """A data set on disk."""

    root: InputPath
    """Folder of the data set: for nuScenes, the one that holds `v1.0-trainval`, `samples` and so on."""
    version: str | None = None
    """Name of the folder with the tables. None: there is only one."""
