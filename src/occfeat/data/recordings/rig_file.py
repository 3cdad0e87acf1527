"""The rig file (`rig.yaml`): what the topics of a recording are, and which of it becomes key frames.

It is plain YAML; nothing in it is executed. Unknown and repeated names are errors.
"""

from collections import Counter
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BeforeValidator, Field, ValidationError, model_validator

from occfeat.data.source.paths import is_plain_name
from occfeat.data.source.splits import ALL
from occfeat.errors import LensError, SettingsError
from occfeat.geometry.lens import Lens
from occfeat.settings.explain import explain
from occfeat.settings.strict import NotNegative, Strict
from occfeat.settings.yaml_file import read_yaml

LARGEST_MS = 1e10
"""Largest offset of a clock, four months."""
SHOWN_ROWS = 9
"""Rows of a matrix of which an error tells the length."""

Numbers3 = tuple[float, float, float]
Numbers4 = tuple[float, float, float, float]


def _square(size: int) -> BeforeValidator:
    """Return a check that a matrix has as many rows and columns as it should."""

    def check(rows: Any) -> Any:
        """Refuse rows of another number or length; what they hold is looked at later."""
        if isinstance(rows, list | tuple) and [_length(row) for row in rows] != [size] * size:
            lengths = ", ".join(str(_length(row)) for row in rows[:SHOWN_ROWS])
            raise ValueError(f"expected {size} rows of {size} numbers, got {len(rows)} rows of {lengths}")
        return rows

    return BeforeValidator(check)


def _length(row: Any) -> int:
    """Return how many numbers a row of a matrix has; one that is not a list has one."""
    return len(row) if isinstance(row, list | tuple) else 1


Matrix3 = Annotated[tuple[Numbers3, Numbers3, Numbers3], _square(3)]
Matrix4 = Annotated[tuple[Numbers4, Numbers4, Numbers4, Numbers4], _square(4)]
Milliseconds = Annotated[float, Field(ge=-LARGEST_MS, le=LARGEST_MS)]


def _plain_channel(name: str) -> str:
    """Refuse a channel that cannot name a folder."""
    if not is_plain_name(name):
        raise ValueError("expected the name of a folder, such as CAM_FRONT")
    return name


def _own_split(name: str) -> str:
    """Refuse the name of a split that means something else."""
    if not name or name == ALL:
        raise ValueError(f"expected a name such as train, and not {ALL}")
    return name


Channel = Annotated[str, AfterValidator(_plain_channel)]


class LensEntry(Strict):
    """The lens of a camera without CameraInfo."""

    model: Literal["pinhole", "brown_conrady", "kannala_brandt", "f_theta"]
    """`brown_conrady` is plumb_bob or rational_polynomial of ROS, `kannala_brandt` equidistant."""
    coefficients: tuple[float, ...] = ()
    """Its coefficients, in OpenCV's order."""

    @model_validator(mode="after")
    def _check(self) -> "LensEntry":
        """Refuse coefficients that no such lens has."""
        self.build()
        return self

    def build(self) -> Lens:
        """Return the lens.

        Raises:
            ValueError: No such lens has these coefficients.
        """
        try:
            return Lens(self.model, self.coefficients)
        except LensError as error:
            raise ValueError(error.message) from error


class SensorEntry(Strict):
    """What a camera and a LiDAR have in common."""

    topic: str
    """Topic of its messages."""
    frame: str | None = None
    """Frame of the sensor. None: the frame that its messages name."""
    clock_ahead_ms: Milliseconds = 0.0
    """How far its clock is ahead of that of the poses; subtracted from its stamps."""
    use_log_time: bool = False
    """Use the time of the recorder in place of stamps, for drivers that leave them empty."""


class CameraEntry(SensorEntry):
    """A camera: a topic, its calibration and its place."""

    info: str | None = None
    """Topic of its CameraInfo. None: `intrinsics` are given."""
    intrinsics: Matrix3 | None = None
    """Pinhole matrix in place of `info`, in pixels of the stored image; its upper left corner is (0, 0)."""
    lens: LensEntry | None = None
    """Lens, if `intrinsics` are given. None: pinhole."""
    rectified: bool | None = None
    """Whether its images are rectified. None: if its topic is named `image_rect*`, as is ROS' convention."""
    ego_from_camera: Matrix4 | None = None
    """Camera (x right, y down, z forward) to the base frame, if the recording has no such transform."""
    delay_ms: Milliseconds = 0.0
    """How much later than the reference sensor's stamp it takes the picture that belongs to it."""

    @model_validator(mode="after")
    def _check(self) -> "CameraEntry":
        """Refuse a camera without a calibration, or with two."""
        if (self.info is None) == (self.intrinsics is None):
            raise ValueError("expected either info, a topic of CameraInfo, or intrinsics")
        if self.lens is not None and self.intrinsics is None:
            raise ValueError("expected intrinsics with lens, got info, which has a lens of its own")
        return self


class LidarEntry(SensorEntry):
    """A LiDAR: a topic and its place."""

    ego_from_lidar: Matrix4 | None = None
    """LiDAR to the base frame, if the recording has no such transform."""
    deskew: bool = True
    """Move points to the time of their sweep, where they have times of their own and poses are known."""


class FramePoses(Strict):
    """Poses from the transforms of the recording."""

    source: Literal["tf"]
    """Where the car's poses come from."""
    global_frame: str
    """Frame in which the car moves, such as `map` or `odom`."""


class TopicPoses(Strict):
    """Poses from a topic of odometry or poses."""

    source: Literal["topic"]
    """Where the car's poses come from."""
    topic: str
    """Topic of Odometry, PoseStamped or PoseWithCovarianceStamped."""
    frame: str | None = None
    """Frame that moves. None: the one that its messages name, or else the base frame."""


class TumPoses(Strict):
    """Poses from a file in TUM's format."""

    source: Literal["tum"]
    """Where the car's poses come from."""
    file: Path
    """The file, relative to the rig file: time x y z qx qy qz qw per line."""
    frame: str | None = None
    """Frame whose poses these are. None: the base frame."""


class KittiPoses(Strict):
    """Poses from a file in KITTI's format, and a file with their times."""

    source: Literal["kitti"]
    """Where the car's poses come from."""
    file: Path
    """The file, relative to the rig file: a matrix of 3 x 4 per line."""
    times: Path
    """File of times in seconds, one per line."""
    frame: str | None = None
    """Frame whose poses these are. None: the base frame."""


class OdometryPoses(Strict):
    """Poses that KISS-ICP estimates from a LiDAR."""

    source: Literal["kiss-icp"]
    """Where the car's poses come from."""
    lidar: Channel
    """Channel of the LiDAR."""


class UnknownPoses(Strict):
    """No poses: what needs them is refused later."""

    source: Literal["none"]
    """Where the car's poses come from."""


Poses = Annotated[
    FramePoses | TopicPoses | TumPoses | KittiPoses | OdometryPoses | UnknownPoses,
    Field(discriminator="source"),
]


class KeyFrameRule(Strict):
    """Which moments become key frames."""

    rate_hz: Annotated[float, Field(ge=1, le=10)] = 2.0
    """Key frames per second, 1 to 10."""
    reference: Channel | None = None
    """Channel whose stamps are those of the key frames. None: the first LiDAR, or else the first camera."""
    jitter_ms: Annotated[float, Field(ge=0, le=1000)] = 50.0
    """Largest difference between a sensor's stamp and that of the key frame, `delay_ms` taken off."""
    missing_cameras: Literal["keep", "drop"] = "keep"
    """What happens to a key frame in which a camera has no image in time."""
    sweeps: bool = True
    """Keep the LiDAR sweeps between key frames: `view.sweeps`, `loss.window_s`, `loss.times` read them."""
    skip_start_s: NotNegative = 0.0
    """Seconds to leave out at the beginning of each recording."""
    skip_end_s: NotNegative = 0.0
    """Seconds to leave out at the end."""
    scene_s: Annotated[float, Field(ge=1, le=3600)] = 20.0
    """Longest scene in seconds: longer recordings are cut into scenes of equal length."""


class CarBody(Strict):
    """Where the car itself is: LiDAR points there are dropped."""

    lower_m: Numbers3 | None = None
    """Smallest x, y, z of the car's box in the base frame."""
    upper_m: Numbers3 | None = None
    """Largest x, y, z of the car's box in the base frame."""
    radius_m: NotNegative = 0.0
    """Points within this horizontal distance of their LiDAR are dropped."""

    @model_validator(mode="after")
    def _check(self) -> "CarBody":
        """Refuse half a box, or an empty one."""
        if (self.lower_m is None) != (self.upper_m is None):
            raise ValueError("expected both lower_m and upper_m, or none of them")
        if self.lower_m and self.upper_m and not all(map(float.__lt__, self.lower_m, self.upper_m)):
            raise ValueError("expected each of lower_m below that of upper_m")
        return self


class SplitRule(Strict):
    """How scenes are divided into splits."""

    by: Literal["time", "recording"] = "time"
    """`time`: the first part of every recording is of the first split. `recording`: whole recordings are."""
    shares: Annotated[
        dict[Annotated[str, AfterValidator(_own_split)], Annotated[float, Field(gt=0, le=1)]],
        Field(min_length=1),
    ] = Field(default_factory=lambda: {"train": 0.8, "val": 0.2})
    """Share of each split, in this order; together 1."""

    @model_validator(mode="after")
    def _check(self) -> "SplitRule":
        """Refuse shares that do not add up."""
        if abs(sum(self.shares.values()) - 1) > 1e-6:
            raise ValueError(f"expected shares that add up to 1, got {sum(self.shares.values()):g}")
        return self


class RigFile(Strict):
    """A rig: its sensors, its poses, and how recordings of it become key frames."""

    base_frame: str
    """Frame of the car: x forward, y left, z up. Better on the ground below the rear axle, as in nuScenes."""
    cameras: dict[Channel, CameraEntry] = Field(default_factory=dict)
    """Cameras by channel."""
    lidars: dict[Channel, LidarEntry] = Field(default_factory=dict)
    """LiDARs by channel."""
    poses: Poses
    """Where the car's poses come from."""
    key_frames: KeyFrameRule = KeyFrameRule()
    car: CarBody = CarBody()
    splits: SplitRule = SplitRule()

    @model_validator(mode="after")
    def _check(self) -> "RigFile":
        """Refuse sensors that contradict each other."""
        channels = [*self.cameras, *self.lidars]
        if not channels:
            raise ValueError("expected a camera or a LiDAR, got neither")
        topics = Counter(entry.topic for entry in (*self.cameras.values(), *self.lidars.values()))
        for kind, names in (("channel", Counter(channels)), ("topic", topics)):
            if twice := [name for name, count in names.items() if count > 1]:
                raise ValueError(f"expected every {kind} once, got {twice[0]} twice")
        reference = self.key_frames.reference
        if reference is not None and reference not in channels:
            raise ValueError(f"expected key_frames.reference to be a channel of the file, got {reference}")
        if isinstance(self.poses, OdometryPoses) and self.poses.lidar not in self.lidars:
            raise ValueError(f"expected poses.lidar to be a LiDAR of the file, got {self.poses.lidar}")
        return self

    @property
    def reference(self) -> str:
        """Channel whose stamps are those of the key frames."""
        return self.key_frames.reference or next(iter((*self.lidars, *self.cameras)))


def read_rig_file(path: Path) -> RigFile:
    """Read a rig file. Paths in it become relative to its folder.

    Raises:
        SettingsError: It is missing, is not YAML, or holds what a rig cannot be; every such line is named.
    """
    content = read_yaml(path, "rig file")
    if not isinstance(content, dict):
        hint = "`occfeat import BAG --inspect` writes a draft."
        got = "nothing" if content is None else f"a {type(content).__name__}"
        raise SettingsError(f"Expected named settings of a rig in {path}, got {got}.", hint=hint)
    return build_rig_file(content, path)


def build_rig_file(content: dict[str, object], path: Path) -> RigFile:
    """Build a rig from the plain values of a file at `path`.

    Raises:
        SettingsError: It holds what a rig cannot be.
    """
    try:
        rig = RigFile.model_validate(content)
    except ValidationError as error:
        hint = "The page `recordings` of the documentation lists all settings of a rig file."
        raise explain(RigFile, error, message=f"The rig file {path} cannot be used:", hint=hint) from error
    poses = rig.poses
    if isinstance(poses, TumPoses):
        poses = poses.model_copy(update={"file": path.parent / poses.file})
    if isinstance(poses, KittiPoses):
        files = {"file": path.parent / poses.file, "times": path.parent / poses.times}
        poses = poses.model_copy(update=files)
    return rig.model_copy(update={"poses": poses})
