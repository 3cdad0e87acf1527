"""Settings of each command, made of the sections in `occfeat.settings.sections`.

This module imports no torch, so that `--help` answers at once. The first line of the docstring of a class
describes the command in the help, the docstring of a field is its help text.
"""

from pathlib import Path
from typing import Annotated, ClassVar, Literal

from pydantic import AfterValidator, Field, model_validator

from occfeat.settings.sections import (
    AugmentConfig,
    CorruptionChoice,
    DataConfig,
    DeviceName,
    EngineConfig,
    FeatureType,
    GridConfig,
    HeadConfig,
    LabelDraw,
    OptimConfig,
    PretrainLossConfig,
    QueryConfig,
    TeacherConfig,
    ViewConfig,
)
from occfeat.settings.strict import Expert, InputPath, Positive, Strict
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
    """Return classes; refuse one that is named twice."""
    if len(set(classes)) < len(classes):
        raise ValueError("a class is named twice")
    return classes


Classes = Annotated[tuple[ClassName, ...], Field(min_length=1), AfterValidator(_all_different)]


class UsesData(Strict):
    """Settings of a command that reads a data set."""

    data: InputPath
    """Folder of the data set: for nuScenes, the one that holds `v1.0-trainval`, `samples` and so on."""
    version: str | None = None
    """Name of the folder with the tables, such as `v1.0-mini`. None: there is only one."""

    @property
    def source(self) -> DataConfig:
        """The data set these settings name."""
        return DataConfig(root=self.data, version=self.version)


class CheckConfig(UsesData):
    """Report every problem of a data set at once."""

    command: ClassVar[str] = "check"
    split: str = "all"
    """Key frames to check: a split of the data set, or `all`."""
    decode: bool = False
    """Read and decode every image and LiDAR file as well, which takes longer."""


class IndexConfig(UsesData):
    """Build the index of a data set (done on first use anyway) and report what it holds."""

    command: ClassVar[str] = "index"
    rebuild: bool = False
    """Build it even if it is up to date."""


class CacheConfig(UsesData):
    """Compute the teacher's features of every key frame once, so that pretraining only reads them."""

    command: ClassVar[str] = "cache"
    out: Path
    """Folder of the cache; must be new, empty or an incomplete cache of the same settings."""
    split: str = "train"
    """Key frames that are cached; `all` takes every one."""
    cameras: tuple[str, ...] = ()
    """Camera channels, in this order. Empty: all of the data set, front first, then clockwise."""
    teacher: TeacherConfig = TeacherConfig()
    dtype: FeatureType = "int8"
    """How features are stored: eight bits per value and a scale per patch, or sixteen bits."""
    batch_size: Positive = 4
    """Key frames at once."""
    shard_size: Expert[Positive] = 64
    """Key frames per file, of which an interruption loses at most one."""
    engine: EngineConfig = EngineConfig()


class PretrainConfig(UsesData):
    """Pretrain a camera-only BEV network from LiDAR occupancy and teacher features, without labels."""

    command: ClassVar[str] = "pretrain"
    stage: ClassVar[str] = "pretraining"
    out: Path
    """Folder of this run; must be new or empty."""
    split: str = "train"
    """Key frames to learn from; `all` takes every one."""
    view: ViewConfig = ViewConfig()
    grid: GridConfig = GridConfig()
    augment: AugmentConfig = AugmentConfig()
    student: StudentConfig = SimpleBevConfig()
    """The network that is trained and kept; each `kind` has its own settings."""
    teacher: TeacherConfig = TeacherConfig()
    teacher_cache: InputPath | None = None
    """Folder made by `occfeat cache` with the same teacher. None: the teacher runs on every image."""
    head: HeadConfig = HeadConfig()
    loss: PretrainLossConfig = PretrainLossConfig()
    queries: QueryConfig = QueryConfig()
    optim: OptimConfig = OptimConfig()
    engine: EngineConfig = EngineConfig()


class FinetuneConfig(UsesData):
    """Fine-tune a BEV network, pretrained or not, to segment classes in BEV, and evaluate it."""

    command: ClassVar[str] = "finetune"
    stage: ClassVar[str] = "fine-tuning"
    out: Path
    """Folder of this run; must be new or empty."""
    start: InputPath | None = None
    """Pretraining run to start from. None: start from the backbone's own weights."""
    split: str = "train"
    """Labelled key frames."""
    val_split: str | None = "val"
    """Key frames to evaluate on at the end. None: do not evaluate."""
    label_fraction: Fraction = 1.0
    """Share of the labelled key frames that are used."""
    label_draw: LabelDraw = "scene"
    """Draw whole scenes (every 100th for 1 %, the authors' habit) or single key frames."""
    label_seed: Annotated[int, Field(ge=0)] = 0
    """Which draw: the first scene for `scene`, the random seed for `key-frame`."""
    classes: Classes = ("vehicle",)
    """What to segment, objects and map layers alike, each as a class of its own."""
    ignore_low_visibility: bool = True
    """Exclude cells of objects of visibility 1 (0-40 %) from the loss."""
    positive_weight: Expert[Annotated[float, Field(gt=0)]] = 2.13
    """Weight of a cell that holds the class, in the binary cross-entropy (Simple-BEV's)."""
    freeze: bool = False
    """Train the head only: a linear probe of the BEV features."""
    pictures: Annotated[int, Field(ge=0)] = 4
    """Number of key frames whose prediction is drawn at the end."""
    view: ViewConfig = ViewConfig()
    grid: GridConfig = GridConfig()
    augment: AugmentConfig = AugmentConfig()
    student: StudentConfig = SimpleBevConfig()
    """The network that is trained and kept; each `kind` has its own settings."""
    optim: OptimConfig = OptimConfig()
    engine: EngineConfig = EngineConfig()


class EvaluateConfig(UsesData):
    """Evaluate a fine-tuned network: IoU pooled over the split, under every protocol."""

    command: ClassVar[str] = "evaluate"
    run: Path
    """Fine-tuning run."""
    out: Path | None = None
    """Folder for the results. None: `evaluation-SPLIT` in the run's folder, with corruptions
    `robustness-SPLIT`."""
    split: str = "val"
    """Key frames to evaluate on."""
    corruptions: tuple[CorruptionChoice, ...] = ()
    """Evaluate again under these corruptions of nuScenes-C, each at three severities; `all` for all eight."""
    corrupted_data: InputPath | None = None
    """Folder of the released nuScenes-C. None: images are corrupted on the fly, seeded by `engine.seed`."""
    baseline: InputPath | None = None
    """Run, or folder of its results, that corruption errors are relative to: evaluated in the same way."""
    batch_size: Positive = 4
    """Key frames at once."""
    pictures: Annotated[int, Field(ge=0)] = 4
    """Number of key frames whose prediction is drawn, spread evenly over the split."""
    engine: EngineConfig = EngineConfig()

    @model_validator(mode="after")
    def _check(self) -> "EvaluateConfig":
        """Refuse settings of corruptions without corruptions."""
        given = {"corrupted_data": self.corrupted_data, "baseline": self.baseline}
        if not self.corruptions and any(value is not None for value in given.values()):
            name = next(name for name, value in given.items() if value is not None)
            raise ValueError(f"{name} is for corruptions, and there are none: add `--corruptions all`")
        return self


class PredictConfig(Strict):
    """Predict BEV classes for your own images, or for key frames of a data set."""

    command: ClassVar[str] = "predict"
    run: Path
    """Fine-tuning run."""
    out: Path
    """Folder for the probabilities (`.npy`) and pictures; must be new or empty."""
    rig: Path | None = None
    """JSON file with a list `cameras` of `image`, `intrinsics` (3x3) and `ego_from_camera` (4x4)."""
    data: Path | None = None
    """Data set to take key frames from, instead of `rig`."""
    version: str | None = None
    """Name of the folder with the tables. None: there is only one."""
    tokens: tuple[str, ...] = ()
    """Key frames of the data set. Empty: the first ten."""
    device: DeviceName = "auto"
    """Where to compute."""


class AnalyseConfig(UsesData):
    """Analyse what the features of a pretraining run mean: classes, clusters, distance, similarity."""

    command: ClassVar[str] = "analyse"
    run: Path
    """Pretraining run, with its checkpoint."""
    out: Path | None = None
    """Folder for metrics and pictures. None: `analysis-SPLIT` in the run's folder."""
    split: str = "val"
    """Key frames to analyse."""
    key_frames: Annotated[int, Field(ge=2)] = 20
    """Largest number of them, spread evenly; a probe is trained on one half and tested on the other."""
    voxels: Expert[Positive] = 1000
    """Largest number of voxels of each, drawn at random."""
    clusters: Expert[Positive] = 10
    """Number of clusters of k-means."""
    voxel_ego: tuple[float, float, float] | None = None
    """Position (x forward, y left, z up, in metres) of the voxel that all others of the first key frame are
    compared with. None: the nearest one of a car."""
    teacher_cache: InputPath | None = None
    """Cache of the split with the teacher of the run. None: the teacher runs on every image."""
    device: DeviceName = "auto"
    """Where to compute."""


class ReportConfig(Strict):
    """Write one page about several runs: settings, curves, IoU, key frames, robustness, analysis."""

    command: ClassVar[str] = "report"
    runs: Annotated[tuple[Path, ...], Field(min_length=1)]
    """Pretraining and fine-tuning runs, on the same data and grid."""
    out: Path
    """File to write, such as `report.html`, which needs no other file."""
    data: InputPath | None = None
    """Folder of the data set of the runs. None: the one they were started with."""
    version: str | None = None
    """Name of the folder with the tables, if `data` is given. None: there is only one."""
    split: str | None = None
    """Key frames to show. None: those the first run was evaluated on."""
    key_frames: Annotated[int, Field(ge=0)] = 12
    """Largest number of them; 0 shows none, and reads no data."""
    pick: Literal["spread", "worst"] = "spread"
    """Spread them evenly over the split, or show those of the worst mean IoU, which takes an evaluation."""
    device: DeviceName = "auto"
    """Where to compute."""


class ConvertConfig(Strict):
    """Make a run folder of a checkpoint that Simple-BEV's authors published (camera-only, ResNet-101)."""

    command: ClassVar[str] = "convert"
    checkpoint: Path
    """The published file, such as `model-000025000.pth`; no code in it is run."""
    out: Path
    """Folder of the run; must be new or empty."""
    sampling: Sampling = "published"
    """Where image features are read: `published` as in the authors' code, which the weights expect, or
    `aligned`, where the voxel is (for fine-tuning)."""
    view: ViewConfig = ViewConfig(image_size=(448, 800))
    grid: GridConfig = GridConfig(lower_m=(-48.3, -50.0, -4.5), upper_m=(51.7, 50.0, 5.5))
    """Voxels in the ego frame. Default: around the position of nuScenes' front camera, as in training."""


class ExportConfig(Strict):
    """Export a fine-tuned network, student and head, for programs without PyTorch."""

    command: ClassVar[str] = "export"
    run: Path
    """Fine-tuning run."""
    out: Path
    """File to write, such as `model.onnx`."""
    rig: Path | None = None
    """JSON file of your cameras, as for `predict`. Its calibration is stored in the exported file, which then
    takes images alone and is faster. None: calibration is an input, so that any rig works."""
    cameras: Positive = 6
    """Number of cameras, if calibration is an input."""


class ViewerConfig(UsesData):
    """Draw a key frame: LiDAR and boxes on the images, BEV labels beside them; or record its whole scene."""

    command: ClassVar[str] = "view"
    out: Path
    """File to write: a picture (`.png`), or a recording of the scene for rerun's viewer (`.rrd`)."""
    token: str | None = None
    """Key frame; of a recording, any of its scene. None: the first one."""
    run: Path | None = None
    """Fine-tuning run whose predictions are recorded too."""
    pretraining: Path | None = None
    """Pretraining run by whose predicted features the occupied voxels of a recording are coloured. None: by
    height."""
    classes: Classes = ("vehicle", "pedestrian")
    """What to draw in BEV, later ones on top."""
    calibration: bool = False
    """Draw LiDAR points and boxes on the images, to check the calibration by eye."""
    view: ViewConfig = ViewConfig(image_size=(450, 800))
    grid: GridConfig = GridConfig()


class DemoConfig(Strict):
    """Run the whole method on a street world it builds: no data set, no download, no GPU; ten minutes."""

    command: ClassVar[str] = "demo"
    out: Path = Path("runs/demo")
    """Folder of the demo; the same command continues a demo that was interrupted."""
    quick: bool = False
    """Run everything in miniature, in a minute: this shows that it works, not what it gains."""
    seed: Annotated[int, Field(ge=0)] = 0
    """Seed of the world, the weights and the labels."""


class DoctorConfig(Strict):
    """Report what this installation can do: versions, devices, memory, extras."""

    command: ClassVar[str] = "doctor"


TRAINING: dict[str, type[PretrainConfig] | type[FinetuneConfig]] = {
    kind.command: kind for kind in (PretrainConfig, FinetuneConfig)
}
"""Settings of the commands that train and can be resumed, by command."""
