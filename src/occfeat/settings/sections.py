"""Sections of settings: frozen values, validated when they are built.

This module imports no torch, so that `--help` answers at once. The docstring of a setting is its help text.
Sizes are (height, width) in pixels.
"""

from math import ceil
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
"""Where to compute; `auto` chooses the best available device."""
FeatureType = Literal["int8", "fp16"]
"""Storage type of cached features: int8 with a scale per patch, or float16."""
LabelDraw = Literal["scene", "key-frame"]
"""Unit in which a fraction of the labels is drawn: whole scenes or single key frames."""
ObjectClass = Literal["vehicle", "pedestrian"]
"""Classes of objects, which boxes are labels of."""
Center = Literal["none", "mean", "position"]
"""What is subtracted from feature targets."""
LoggerName = Literal["tensorboard", "wandb", "mlflow"]
CorruptionName = Literal[
    "CameraCrash", "FrameLost", "MotionBlur", "ColorQuant", "Brightness", "LowLight", "Fog", "Snow"
]
"""nuScenes-C's corruptions of images."""
CorruptionChoice = Literal["all", CorruptionName]
Conflicts = Literal["key-sweep", "ignore"]
"""Who decides on voxels of a window of sweeps that some rays hit and others cross."""
Severity = Literal["easy", "mid", "hard"]


class ViewConfig(Strict):
    """Cameras, image size and LiDAR sweeps of a key frame."""

    cameras: tuple[str, ...] = ()
    """Camera channels, in order. Empty: all cameras of the data set, clockwise from the front."""
    image_size: ImageSize = (224, 400)
    """Height and width of the student's images."""
    sweeps: Positive = 1
    """Number of sweeps of each LiDAR to join, the key frame's own and those before it. The paper uses 1."""
    lidars: Expert[tuple[str, ...]] = ()
    """LiDARs whose sweeps are joined. Empty: all LiDARs of the data set."""
    compensate_ego_motion: Expert[bool] = True
    """Include the ego motion between the timestamps of camera and LiDAR in `ego_from_camera`."""
    ego_radius_m: NotNegative = 1.0
    """Drop LiDAR returns within this horizontal distance of the sensor, which hit the car itself."""


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
    """Random augmentation of training samples; calibration, points and labels follow. Default: none."""

    scale: tuple[float, float] = (1.0, 1.0)
    """Range of the zoom of each image before cropping. Below 1, the image is padded with black."""
    shift: Annotated[float, Field(ge=0, le=0.5)] = 0.0
    """Largest shift of the crop, as a fraction of the image size, at most 0.5."""
    image_rotation_deg: NotNegative = 0.0
    """Largest rotation of each image, in either direction."""
    image_flip: bool = False
    """Mirror each image left to right with probability 1/2."""
    brightness: NotNegative = 0.0
    """Largest relative change of brightness."""
    contrast: NotNegative = 0.0
    """Largest relative change of contrast."""
    saturation: NotNegative = 0.0
    """Largest relative change of saturation."""
    bev_rotation_deg: NotNegative = 0.0
    """Largest rotation of the ego frame about z, in either direction."""
    bev_flip: bool = False
    """Mirror the ego frame along x and along y, each with probability 1/2."""
    lidar_beams: Annotated[float, Field(ge=0, lt=1)] = 0.0
    """Largest share of the LiDAR's beams that are left out of the targets of a key frame."""
    corruptions: tuple[CorruptionChoice, ...] = ()
    """nuScenes-C corruptions to draw from, one per key frame, at a random severity. `all`: all eight."""
    corruption_probability: Annotated[float, Field(ge=0, le=1)] = 0.5
    """Fraction of the key frames that are corrupted, if `corruptions` are given."""

    @model_validator(mode="after")
    def _check(self) -> "AugmentConfig":
        """Refuse a zoom range that is empty or not positive."""
        if not 0 < self.scale[0] <= self.scale[1]:
            raise ValueError(
                f"expected two positive numbers as scale, the smaller one first, got {self.scale}"
            )
        return self


class TeacherConfig(Strict):
    """The frozen image foundation model whose features the student learns to predict."""

    name: str = "vit_small_patch14_dinov2.lvd142m"
    """timm name of a vision transformer or of a network with stages, such as resnet50, or `packaged` for the
    DINOv2-derived ViT-S/14 of `make demo`."""
    weights: WeightsSource = "hub"
    """`hub`, the path of a local file in timm's, Meta's or Hugging Face's format, or `packaged` for the name
    `tf_efficientnet_lite0`, whose weights come with `make setup`."""
    image_size: ImageSize = (224, 392)
    """Height and width of the teacher's images, multiples of its patch size."""
    block: Expert[int | tuple[int, ...] | None] = None
    """Index of the block whose tokens are used, from 0, or of several, which are concatenated. Of a network
    with stages: of the stage. None: the last block (packaged teacher: 10), or the last stage with a stride of
    16 pixels or less."""
    normalize: Expert[bool] = True
    """Apply the network's final LayerNorm to the tokens of each block; without one, normalise each stage over
    its channels."""


NO_TEACHER = TeacherConfig(name="none")
"""Settings that mean: no second teacher."""


class HeadConfig(Strict):
    """The pretraining head, which is discarded afterwards (paper section 3)."""

    channels: Expert[Positive] = 32
    """Channels per voxel after unsplatting (this project's choice)."""
    blocks: Expert[Few] = 1
    """Number of blocks of 3-D convolutions."""
    feature_channels: Expert[Positive | None] = None
    """Channels per voxel of a separate feature branch without 3-D convolutions (this project's option).
    None: occupancy and features share their channels, as in the paper."""


class QueryConfig(Strict):
    """Query points near LiDAR returns, at which Img-ALSO predicts occupancy."""

    returns: Expert[Positive] = 2048
    """LiDAR returns drawn per key frame and step. Each gives three queries (this project's choice)."""
    distance_m: Expert[Annotated[float, Field(gt=0)]] = 0.1
    """Largest distance of a query from its return, in front or behind (ALSO's)."""


class PretrainLossConfig(Strict):
    """Weights of the losses in their sum. Defaults: the paper's."""

    occupancy: NotNegative = 1.0
    """Weight of the binary cross-entropy of occupancy. 0: distillation only."""
    unknown: Literal["empty", "ignore"] = "empty"
    """Target of voxels without a LiDAR return or ray: `empty` as in the paper, or `ignore` in the occupancy
    loss and its IoU (this project's option)."""
    unseen: Literal["count", "ignore"] = "count"
    """Voxels outside the images of all cameras: `count` as in the paper, or `ignore` in the occupancy loss
    and its metrics (this project's option)."""
    window_s: NotNegative = 0.0
    """Seconds before and after the key frame whose LiDAR sweeps say, together with its own, which voxels are
    occupied, empty or unknown. Unknown ones are left out of the occupancy loss and its metrics. Needs known
    poses. 0: the key frame's own sweep alone, as in the paper (this project's option)."""
    conflicts: Expert[Conflicts] = "key-sweep"
    """What happens to voxels of the window that some rays hit and others cross, as something moved:
    `key-sweep` believes hits that no ray passes below, and above the ground only those both before and after
    the key frame. `ignore` believes every hit."""
    features: NotNegative | Literal["auto"] = 0.01
    """Weight of the negative cosine similarity, lambda in the paper. 0: occupancy only, no teacher. `auto`:
    adjusted during training, so that the features pull at the BEV features as `ratio` says (this project's
    option)."""
    ratio: Annotated[float, Field(gt=0)] = 0.3
    """Ratio that `features` `auto` aims at: the gradient of the weighted feature loss at the BEV features,
    relative to that of the occupancy loss."""
    ratio_every: Expert[Positive] = 50
    """Optimiser steps between two measurements of that ratio, which is logged in any case."""
    center: Center = "none"
    """What is subtracted from the feature targets (this project's option). `mean`: their mean over the
    training set. `position`: also the mean of each patch of each camera's feature map, in each data set."""
    center_key_frames: Expert[Positive] = 32
    """Number of key frames, spread over the training set, from which means are computed once per run."""
    queries: NotNegative = 0.0
    """Weight of the binary cross-entropy at query points. 1, and occupancy and features 0: Img-ALSO."""
    depth: NotNegative = 0.0
    """Weight of the cross-entropy between the student's depth and the LiDAR's. LSS only."""
    features_window_s: NotNegative = 0.0
    """Key frames so many seconds before and after teach features too: the target of a voxel is the mean over
    all cameras that see it, by a depth test with the LiDAR. Needs `window_s` and a teacher cache. 0: the key
    frame's own cameras alone, as in the paper (this project's option)."""
    times: NotNegative = 0.0
    """Weight of the binary cross-entropy of occupancy at several times, where the LiDAR observed it then
    (this project's option)."""
    times_s: Expert[tuple[float, ...]] = (-1.0, -0.5, 0.0, 0.5, 1.0)
    """These times, in seconds after the key frame."""
    times_weights: Expert[tuple[NotNegative, ...]] = (0.25, 0.5, 1.0, 0.5, 0.25)
    """Weight of each time in the loss."""
    times_tolerance_s: Expert[NotNegative] = 0.1
    """Largest distance in time of a sweep from each time. A time without a sweep does not count."""
    path: NotNegative = 0.0
    """Weight of the binary cross-entropy of the car's path: cells that it covers are drivable, cells with
    returns above the ground are not, the others do not count (this project's option). 0.1 is a good start."""
    path_window_s: Expert[Annotated[float, Field(gt=0)]] = 3.0
    """Largest distance in time between a key frame and the path that is learned from it."""
    car_lower_m: Expert[tuple[float, float] | None] = None
    """Back right corner of the car in the ego frame. None: that of the data set's car, which is known of
    nuScenes alone."""
    car_upper_m: Expert[tuple[float, float] | None] = None
    """Front left corner of the car in the ego frame. None: that of the data set's car."""
    own: Expert[tuple[str, ...]] = ()
    """Names of custom objectives, which Python code passes as `objectives`. Set by the run."""

    @model_validator(mode="after")
    def _check(self) -> "PretrainLossConfig":
        """Refuse options that need an occupancy loss without one, and a car without a size."""
        for name, value in (("unknown", "ignore"), ("unseen", "ignore"), ("features", "auto")):
            if getattr(self, name) == value and self.occupancy == 0:
                raise ValueError(f"{name} `{value}` expects an occupancy weight above 0, got 0")
        if self.features_window_s and not (self.window_s and self.features):
            raise ValueError("features_window_s above 0 expects window_s and features above 0, got 0")
        if not self.times_s or len(set(self.times_s)) != len(self.times_s):
            raise ValueError(f"expected different times, and at least one, as times_s, got {self.times_s}")
        if len(self.times_weights) != len(self.times_s):
            weights, times = len(self.times_weights), len(self.times_s)
            raise ValueError(f"expected as many times_weights as times_s, got {weights} and {times}")
        lower, upper = self.car_lower_m, self.car_upper_m
        if (lower is None) != (upper is None):
            raise ValueError(f"expected both corners of the car, or neither, got {lower} and {upper}")
        if lower and upper and not all(low < high for low, high in zip(lower, upper, strict=True)):
            corners = f"{lower} and {upper}"
            raise ValueError(f"expected car_lower_m below car_upper_m along both axes, got {corners}")
        if self.window_s and self.occupancy == 0:
            raise ValueError("window_s above 0 expects an occupancy weight above 0, got 0")
        return self


class OptimConfig(Strict):
    """AdamW with a one-cycle schedule (Simple-BEV's defaults)."""

    epochs: Positive = 50
    """Number of passes over the training key frames."""
    batch_size: Positive = 16
    """Key frames per optimiser step, summed over all devices."""
    micro_batch_size: Positive | None = None
    """Key frames per forward pass on each device; gradients accumulate. None: the device's share of the
    batch. The loss of a step is the mean of the losses of its micro-batches."""
    learning_rate: Annotated[float, Field(gt=0)] = 3e-4
    """Peak learning rate."""
    student_rate: Annotated[float, Field(gt=0, le=1)] = 1.0
    """Learning rate of the student, relative to that of the head. Below 1, fine-tuning changes a pretrained
    student less than its new head."""
    layer_decay: Annotated[float, Field(gt=0, le=1)] = 1.0
    """Learning rate of each layer of the student's backbone, relative to the next one. Below 1, layers near
    the image change least. Layers are those of timm; the neck and all behind it learn at `student_rate`."""
    weight_decay: NotNegative = 1e-7
    """Decoupled weight decay."""
    warmup: Expert[Annotated[float, Field(gt=0, lt=1)]] = 0.05
    """Fraction of the steps in which the learning rate rises."""
    clip_norm: Expert[NotNegative] = 5.0
    """Largest gradient norm. 0: do not clip."""
    ema: Annotated[float, Field(ge=0, le=1)] = 0.0
    """Evaluate and ship an exponential moving average of the weights over this fraction of the steps. Of
    10 000 steps, 0.1 is a decay of 0.999. 0: the weights after the last step."""

    @model_validator(mode="after")
    def _check(self) -> "OptimConfig":
        """Refuse a batch size that is not a multiple of the micro-batch size."""
        if self.micro_batch_size is not None and self.batch_size % self.micro_batch_size:
            micro = self.micro_batch_size
            raise ValueError(
                f"expected a multiple of micro_batch_size {micro} as batch_size, got {self.batch_size}"
            )
        return self


class EngineConfig(Strict):
    """How a run is executed.

    Results depend on `seed`, `precision` and the broken key frames that are skipped. They depend slightly on
    the number of devices, because each device averages the loss over its own key frames.
    """

    seed: Annotated[int, Field(ge=0)] = 0
    """Random seed of initial weights, order and augmentation."""
    device: DeviceName = "auto"
    """Where to compute."""
    devices: Positive = 1
    """Number of processes on each machine, one per device."""
    nodes: Positive = 1
    """Number of machines. torchrun or SLURM starts the same command on each."""
    precision: Literal["auto", "32-true", "bf16-mixed"] = "auto"
    """`auto`: bf16-mixed on GPUs that support it, else float32."""
    recompute: bool = False
    """Recompute activations in the backward pass, in the blocks whose size grows with the grid. This takes
    less memory, above all for BEVFormer, and more time. Results are the same."""
    workers: Annotated[int, Field(ge=0)] = 4
    """Number of loader processes, at most one per core. 0: load in the training process."""
    deterministic: bool = False
    """Use deterministic algorithms, some of which are slower on GPUs. torch warns if one is missing."""
    log_every: Expert[Positive] = 10
    """Optimiser steps per row of metrics."""
    loggers: tuple[LoggerName, ...] | None = None
    """Additional loggers: `tensorboard`, `wandb`, `mlflow`. The last two write into the run folder and stay
    offline, unless WANDB_MODE is `online` or MLFLOW_TRACKING_URI names a server. None: TensorBoard, if it is
    installed."""
    checkpoint_minutes: NotNegative = 10.0
    """Minutes between checkpoints. 0: save after every step."""
    max_broken: Annotated[int, Field(ge=0)] = 0
    """Number of broken key frames that are skipped, in all processes together, before the run stops."""
    max_incomplete: Annotated[float, Field(ge=0, le=1)] = 0.05
    """Largest share of key frames of which some image may be missing or damaged, rounded up. They are used
    without these cameras, and counted."""
    implausible: Expert[Literal["refuse", "warn"]] = "refuse"
    """What to do if calibration, poses or boxes of the data seem to be impossible."""

    def allowed_incomplete(self, key_frames: int) -> int:
        """Return how many of some key frames may lack a camera."""
        return ceil(self.max_incomplete * key_frames)


class LabelsConfig(Strict):
    """What the boxes of a data set are labels of."""

    categories: dict[str, ObjectClass] = Field(default={})
    """Class of categories, by their whole names, in place of what the format says: `{car: vehicle}`, on the
    command line `car vehicle`."""


class DataConfig(Strict):
    """A data set on disk."""

    root: InputPath
    """Folder of the data set. For nuScenes, the one that contains `v1.0-trainval`, `samples` and so on."""
    version: str | None = None
    """Name of the folder of tables. None: the only one."""
    categories: dict[str, ObjectClass] = Field(default={})
    """Class of categories that the format does not know, as in `LabelsConfig`."""
