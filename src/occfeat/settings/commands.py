"""Settings of each command, made of the sections in `occfeat.settings.sections`.

This module imports no torch, so that `--help` answers at once. The first line of a class docstring
describes the command in the help. The docstring of a field is its help text.
"""

from pathlib import Path
from typing import Annotated, ClassVar, Literal

from pydantic import AfterValidator, Field, model_validator

from occfeat.settings.sections import (
    NO_TEACHER,
    AugmentConfig,
    CorruptionChoice,
    DataConfig,
    DeviceName,
    EngineConfig,
    FeatureType,
    GridConfig,
    HeadConfig,
    LabelDraw,
    LabelsConfig,
    ObjectClass,
    OptimConfig,
    PretrainLossConfig,
    QueryConfig,
    TeacherConfig,
    ViewConfig,
)
from occfeat.settings.several import PerSet, TrainsOnSets, UsesSets
from occfeat.settings.strict import Expert, ImageSize, InputPath, NotNegative, Positive, Strict
from occfeat.settings.students import Sampling, SimpleBevConfig, StudentConfig

Fraction = Annotated[float, Field(gt=0, le=1)]
ClassName = Literal[
    "vehicle",
    "pedestrian",
    "drivable_area",
    "ped_crossing",
    "walkway",
    "stop_line",
    "carpark_area",
    "divider",
]


def _all_different(classes: tuple[ClassName, ...]) -> tuple[ClassName, ...]:
    """Refuse a class that is given twice."""
    if len(set(classes)) < len(classes):
        raise ValueError("expected each class once, got one twice")
    return classes


Classes = Annotated[tuple[ClassName, ...], Field(min_length=1), AfterValidator(_all_different)]


class UsesData(Strict):
    """Settings of a command that reads a data set."""

    data: InputPath
    """Folder of the data set. For nuScenes, the one that contains `v1.0-trainval`, `samples` and so on; for
    Argoverse 2, the one that contains `train`, `val` and `test`."""
    version: str | None = None
    """Name of the folder of tables, such as `v1.0-mini`. None: the only one."""

    @property
    def source(self) -> DataConfig:
        """The data set that these settings name."""
        return DataConfig(root=self.data, version=self.version, categories=self.categories)

    @property
    def categories(self) -> dict[str, ObjectClass]:
        """Class of categories that the format does not know; nothing for a command that reads no labels."""
        return {}


class CheckConfig(UsesData):
    """Report all problems of a data set at once."""

    command: ClassVar[str] = "check"
    split: str = "all"
    """Key frames to check: a split of the data set, or `all`."""
    decode: bool = False
    """Also read and decode every image and LiDAR file, which takes longer."""
    calibration: bool = False
    """Also estimate by how much each camera is turned and late, from edges of LiDAR and images."""
    out: Path | None = None
    """Folder for a picture of each camera with `calibration`; must be new. None: no pictures."""
    labels: LabelsConfig = LabelsConfig()

    @property
    def categories(self) -> dict[str, ObjectClass]:
        """Class of categories that the format does not know."""
        return self.labels.categories


class IndexConfig(UsesData):
    """Build the index of a data set and print a summary. Other commands build a missing index themselves."""

    command: ClassVar[str] = "index"
    rebuild: bool = False
    """Rebuild the index even if it is up to date."""


class ImportConfig(Strict):
    """Import recordings (bags of ROS 1 and 2, Waymo Open v2, KITTI raw): write them in nuScenes format."""

    command: ClassVar[str] = "import"
    recordings: Annotated[tuple[InputPath, ...], Field(min_length=1)]
    """`.bag` files, folders of ROS 2 bags, `.mcap` or `.db3` files, each a recording of its own; or folders
    of Waymo Open v2 or KITTI raw."""
    out: Path | None = None
    """Folder of the data set; must be new, empty or a half-written import of the same. Needed to import."""
    rig: Path | None = None
    """Rig file (YAML) of bags: which topics are which sensors. None: a draft is used, if it suffices."""
    inspect: bool = False
    """Only report what the bags hold, and write a draft of the rig file: to `rig`, or else to `rig.yaml`."""
    join: bool = False
    """Read all bags as parts of one recording, such as the files of a long drive."""
    key_hz: Annotated[float, Field(ge=1, le=10)] = 2.0
    """Key frames per second of Waymo and KITTI. For bags, the rig file says it."""
    sweeps: bool = True
    """Keep the LiDAR sweeps between key frames of Waymo and KITTI. For bags, the rig file says it."""
    workers: Annotated[int, Field(ge=0)] = 0
    """Processes; 0 starts one per core. The data set does not depend on it."""

    @model_validator(mode="after")
    def _check(self) -> "ImportConfig":
        """Refuse an import to nowhere, and an inspection to somewhere."""
        if self.inspect == (self.out is not None):
            hint = "--inspect writes no data set" if self.inspect else "where to write the data set"
            raise ValueError(f"expected either inspect or out ({hint})")
        return self


class CacheConfig(UsesData):
    """Compute the teacher's features of every key frame once, or pack the student's images, for training."""

    command: ClassVar[str] = "cache"
    out: Path
    """Folder of the cache; must be new, empty or an incomplete cache of the same settings."""
    split: str = "train"
    """Key frames to cache: a split of the data set, or `all`."""
    cameras: tuple[str, ...] = ()
    """Camera channels, in order. Empty: all cameras of the data set, clockwise from the front."""
    teacher: TeacherConfig = TeacherConfig()
    second_teacher: TeacherConfig = NO_TEACHER
    """Another teacher, whose features are learned beside those of the first. `none`: no second teacher."""
    dtype: FeatureType = "int8"
    """Storage type of the features: int8 with a scale per patch, or float16."""
    batch_size: Positive = 4
    """Key frames per batch."""
    images: bool = False
    """Pack the student's images in place of the teacher's features, for the setting `image_cache`."""
    image_size: ImageSize = (224, 400)
    """Height and width of the student's images, with `images`."""
    largest_zoom: Annotated[float, Field(ge=1, le=4)] = 1.0
    """Largest zoom of the student's augmentation (the second value of `augment.scale`), with `images`."""
    quality: Annotated[int, Field(ge=1, le=100)] | None = None
    """Quality of JPEGs, with `images`. None: store pixels as they are, which is exact and faster, and takes
    six times as much space as quality 95."""
    shard_size: Expert[Positive] = 64
    """Key frames per file. An interruption loses at most one file."""
    engine: EngineConfig = EngineConfig()


class PretrainConfig(TrainsOnSets):
    """Pretrain a camera-only BEV network from LiDAR occupancy and teacher features, without labels."""

    command: ClassVar[str] = "pretrain"
    stage: ClassVar[str] = "pretraining"
    split: PerSet[str] = ("train",)
    """Key frames to train on: a split or `all`; one for all data sets, or one per data set."""
    view: ViewConfig = ViewConfig()
    grid: GridConfig = GridConfig()
    augment: AugmentConfig = AugmentConfig()
    student: StudentConfig = SimpleBevConfig()
    """The BEV network. Each `kind` has its own settings."""
    teacher: TeacherConfig = TeacherConfig()
    second_teacher: TeacherConfig = NO_TEACHER
    """Another teacher, whose features are learned beside those of the first. `none`: no second teacher."""
    teacher_cache: PerSet[InputPath | None] = (None,)
    """Folder written by `occfeat cache` with the same teacher, one per data set. None: run the teacher on
    every image."""
    head: HeadConfig = HeadConfig()
    loss: PretrainLossConfig = PretrainLossConfig()
    queries: QueryConfig = QueryConfig()
    optim: OptimConfig = OptimConfig()
    engine: EngineConfig = EngineConfig()


class FinetuneConfig(TrainsOnSets):
    """Fine-tune a BEV network, pretrained or not, for BEV segmentation, and evaluate it."""

    command: ClassVar[str] = "finetune"
    stage: ClassVar[str] = "fine-tuning"
    start: InputPath | None = None
    """Pretraining run to start from. None: start from the backbone's weights."""
    split: PerSet[str] = ("train",)
    """Labelled key frames; one split for all data sets, or one per data set."""
    val_split: PerSet[str | None] = ("val",)
    """Split to evaluate on at the end; one for all data sets, or one per data set. None: do not evaluate."""
    label_fraction: Fraction = 1.0
    """Fraction of the labelled key frames to train on, drawn within each data set."""
    label_draw: LabelDraw = "scene"
    """Draw whole scenes (every 100th for 1 %, as the authors do) or single key frames."""
    label_seed: Annotated[int, Field(ge=0)] = 0
    """Index of the first scene for `scene`, random seed for `key-frame`."""
    classes: Classes = ("vehicle",)
    """Classes to segment, objects or map layers, each as a binary task."""
    labels: LabelsConfig = LabelsConfig()
    ignore_low_visibility: bool = True
    """Exclude cells of objects with visibility 1 (0-40 %) from the loss."""
    positive_weight: Expert[Annotated[float, Field(gt=0)]] = 2.13
    """Weight of positive cells in the binary cross-entropy (Simple-BEV's)."""
    freeze: bool = False
    """Train the head only: a linear probe of the BEV features."""
    pictures: Annotated[int, Field(ge=0)] = 4
    """Number of key frames whose predictions are drawn at the end."""
    view: ViewConfig = ViewConfig()
    grid: GridConfig = GridConfig()
    augment: AugmentConfig = AugmentConfig()
    student: StudentConfig = SimpleBevConfig()
    """The BEV network. Each `kind` has its own settings."""
    optim: OptimConfig = OptimConfig()
    engine: EngineConfig = EngineConfig()

    @property
    def categories(self) -> dict[str, ObjectClass]:
        """Class of categories that the formats do not know."""
        return self.labels.categories


class EvaluateConfig(UsesSets):
    """Evaluate a fine-tuned network: IoU pooled over the split, under every protocol."""

    command: ClassVar[str] = "evaluate"
    run: Path
    """Fine-tuning run."""
    out: Path | None = None
    """Folder for the results. None: `evaluation-SPLIT` in the run folder, or `robustness-SPLIT` with
    corruptions."""
    split: PerSet[str] = ("val",)
    """Key frames to evaluate on; one split for all data sets, or one per data set."""
    labels: LabelsConfig = LabelsConfig()
    """What boxes are labels of. Without categories: as in fine-tuning."""
    motion: bool = False
    """Also report objects that move (faster than 1 m/s) and objects that stand still apart."""
    corruptions: tuple[CorruptionChoice, ...] = ()
    """Also evaluate under these nuScenes-C corruptions, each at three severities. `all`: all eight."""
    corrupted_data: InputPath | None = None
    """Folder of the released nuScenes-C. None: corrupt images on the fly, seeded by `engine.seed`."""
    baseline: InputPath | None = None
    """Baseline of the corruption errors: a run, or a folder of its results, evaluated in the same way."""
    batch_size: Positive = 4
    """Key frames per batch."""
    pictures: Annotated[int, Field(ge=0)] = 4
    """Number of key frames whose predictions are drawn, spread evenly over the split."""
    engine: EngineConfig = EngineConfig()

    @property
    def categories(self) -> dict[str, ObjectClass]:
        """Class of categories that the formats do not know."""
        return self.labels.categories

    @model_validator(mode="after")
    def _check(self) -> "EvaluateConfig":
        """Refuse settings that need corruptions if none are given, and corruptions of several data sets."""
        if self.corruptions and len(self.data) > 1:
            raise ValueError(
                f"expected one data set with corruptions, got {len(self.data)}: choose one with --data"
            )
        given = {"corrupted_data": self.corrupted_data, "baseline": self.baseline}
        if not self.corruptions and any(value is not None for value in given.values()):
            name = next(name for name, value in given.items() if value is not None)
            raise ValueError(f"expected corruptions with {name}, got none: add `--corruptions all`")
        return self


class PredictConfig(Strict):
    """Predict BEV classes from your own images, or for key frames of a data set."""

    command: ClassVar[str] = "predict"
    run: Path
    """Fine-tuning run."""
    out: Path
    """Folder for the probabilities (`.npy`) and pictures; must be new or empty."""
    rig: Path | None = None
    """JSON file with `cameras` of `image`, `intrinsics` (3x3), `ego_from_camera` (4x4) and maybe `lens`."""
    data: Path | None = None
    """Data set to predict key frames of, instead of `rig`."""
    version: str | None = None
    """Name of the folder of tables. None: the only one."""
    tokens: tuple[str, ...] = ()
    """Tokens of key frames of the data set. Empty: the first ten."""
    device: DeviceName = "auto"
    """Where to compute."""


class AnalyseConfig(UsesData):
    """Analyse the features of a pretraining run: linear probe, clusters, distance, similarity."""

    command: ClassVar[str] = "analyse"
    run: Path
    """Pretraining run; its checkpoint is needed."""
    out: Path | None = None
    """Folder for metrics and pictures. None: `analysis-SPLIT` in the run folder."""
    split: str = "val"
    """Key frames to analyse."""
    key_frames: Annotated[int, Field(ge=2)] = 20
    """Largest number of key frames, spread evenly. One half trains the probe, the other tests it."""
    voxels: Expert[Positive] = 1000
    """Largest number of voxels per key frame, drawn at random."""
    clusters: Expert[Positive] = 10
    """Number of clusters of k-means."""
    voxel_ego: tuple[float, float, float] | None = None
    """Position (x forward, y left, z up, in metres) of the voxel with which all others of the first key frame
    are compared. None: the nearest voxel of a car."""
    teacher_cache: InputPath | None = None
    """Teacher cache of the split, by the teacher of the run. None: run the teacher on every image."""
    device: DeviceName = "auto"
    """Where to compute."""


class ReportConfig(Strict):
    """Compare runs on one HTML page: settings, curves, IoU, key frames, robustness, analysis."""

    command: ClassVar[str] = "report"
    runs: Annotated[tuple[Path, ...], Field(min_length=1)]
    """Pretraining and fine-tuning runs on the same data set and grid."""
    out: Path
    """File to write, such as `report.html`. It is self-contained."""
    data: InputPath | None = None
    """Folder of the runs' data set. None: the one they were started with."""
    version: str | None = None
    """Name of the folder of tables, if `data` is given. None: the only one."""
    split: str | None = None
    """Split to show key frames of. None: the split the first run was evaluated on."""
    key_frames: Annotated[int, Field(ge=0)] = 12
    """Largest number of key frames. 0 shows none and reads no data."""
    pick: Literal["spread", "worst"] = "spread"
    """Spread key frames evenly over the split, or show those with the lowest mean IoU, which takes an
    evaluation."""
    device: DeviceName = "auto"
    """Where to compute."""


class ConvertConfig(Strict):
    """Convert a checkpoint of Simple-BEV's authors (camera-only, with a ResNet) to a run folder."""

    command: ClassVar[str] = "convert"
    checkpoint: Path
    """The published file, such as `model-000025000.pth`. Code in it is not run."""
    out: Path
    """Folder of the new run; must be new or empty."""
    sampling: Sampling = "published"
    """Image positions at which features are read: `published` as in the authors' code, which the weights
    expect, or `aligned` with the voxels (for fine-tuning)."""
    view: ViewConfig = ViewConfig(image_size=(448, 800))
    grid: GridConfig = GridConfig(lower_m=(-48.3, -50.0, -4.5), upper_m=(51.7, 50.0, 5.5))
    """Voxels in the ego frame. Default: centred on nuScenes' front camera, as in training."""


class ExportConfig(Strict):
    """Export a fine-tuned network, student and head, for programs without PyTorch."""

    command: ClassVar[str] = "export"
    run: Path
    """Fine-tuning run."""
    out: Path
    """File to write, such as `model.onnx`."""
    rig: Path | None = None
    """JSON file of your cameras, as for `predict`. The export then contains their calibration, takes only
    images and is faster. None: calibration is an input, and any rig works."""
    cameras: Positive | None = None
    """Number of cameras, if calibration is an input. None: that of the run, or 6 if it is not known."""


class ViewerConfig(UsesData):
    """Draw a key frame with LiDAR, boxes and BEV labels, or record its whole scene."""

    command: ClassVar[str] = "view"
    out: Path
    """File to write: a picture (`.png`), or a recording of the scene for rerun's viewer (`.rrd`)."""
    token: str | None = None
    """Token of a key frame; for a recording, any of the scene. None: the first one."""
    run: Path | None = None
    """Fine-tuning run whose predictions are also recorded."""
    pretraining: Path | None = None
    """Pretraining run whose predicted features colour the occupied voxels of a recording. None: colour
    them by height."""
    classes: Classes = ("vehicle", "pedestrian")
    """Classes to draw in BEV, later ones on top."""
    labels: LabelsConfig = LabelsConfig()
    calibration: bool = False
    """Draw LiDAR points and boxes on the images, which shows errors of calibration."""
    window_s: NotNegative = 0.0
    """Show the sweeps within so many seconds of the key frame too, coloured by their time: in a recording, or
    with `calibration` in a picture. What stands still lies on itself if the poses are right. 0: the sweeps of
    `view.sweeps`."""
    view: ViewConfig = ViewConfig(image_size=(450, 800))
    grid: GridConfig = GridConfig()

    @property
    def categories(self) -> dict[str, ObjectClass]:
        """Class of categories that the format does not know."""
        return self.labels.categories


class DemoConfig(Strict):
    """Run the whole method on a generated street world: no data set, download or GPU; ten minutes."""

    command: ClassVar[str] = "demo"
    out: Path = Path("runs/demo")
    """Folder of the demo. Repeat the command to continue an interrupted demo."""
    quick: bool = False
    """Run a miniature in a minute, to show that everything works. Its metrics mean nothing."""
    seed: Annotated[int, Field(ge=0)] = 0
    """Seed of the world, the weights and the labels."""


class DoctorConfig(Strict):
    """Report the installation: versions, devices, memory, extras. Or test a device against the CPU."""

    command: ClassVar[str] = "doctor"
    device: DeviceName | None = None
    """Device to test in a few minutes: targets, losses, gradients, training steps, resuming, speed and
    memory. None: report the installation."""
    out: Path | None = None
    """JSON file for the results of the test, to attach to an issue."""


TRAINING: dict[str, type[PretrainConfig] | type[FinetuneConfig]] = {
    kind.command: kind for kind in (PretrainConfig, FinetuneConfig)
}
"""Settings of the training commands, which can be resumed, by command."""
