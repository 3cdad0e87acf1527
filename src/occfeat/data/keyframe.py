"""One key frame of the index: cameras, LiDAR sweeps and boxes, as plain values.

Axes: `n` boxes, `p` poses. Poses are kept in float64, because global coordinates reach kilometres.
"""

from dataclasses import dataclass, field

import torch
from jaxtyping import Bool, Float, Int64
from torch import Tensor

from occfeat.data.source.place import Place
from occfeat.geometry.frames import from_rotation, rotation_from_quaternion, transform_points
from occfeat.geometry.lens import PINHOLE, Lens


@dataclass(frozen=True)
class CameraRecord:
    """One image and its calibration."""

    channel: str
    """Name of the camera, such as `CAM_FRONT`."""
    token: str
    """Token of the image's record in the tables."""
    path: str
    """File name relative to the data folder."""
    size: tuple[int, int]
    """(height, width) of the file in pixels."""
    intrinsics: Float[Tensor, "3 3"]
    """Matrix from normalised coordinates, behind the lens, to pixels of the file on disk."""
    lidar_ego_from_camera: Float[Tensor, "4 4"]
    """Camera frame at the camera's time to the ego frame at the key frame's LiDAR time."""
    camera_ego_from_camera: Float[Tensor, "4 4"]
    """The calibration only: camera frame to the ego frame at the camera's time."""
    lens: Lens = PINHOLE


@dataclass(frozen=True)
class SweepRecord:
    """One LiDAR sweep."""

    token: str
    """Token of the sweep's record in the tables."""
    path: str
    """File name relative to the data folder."""
    lidar: str
    """Name of the LiDAR, such as `LIDAR_TOP`."""
    timestamp_us: int
    """Time of the sweep in microseconds."""
    is_key: bool
    """Whether it is a key frame's own sweep: of this key frame, or of another one of the scene."""
    ego_from_lidar: Float[Tensor, "4 4"]
    """LiDAR frame at the sweep's time to the ego frame of the key frame, including ego motion."""


@dataclass(frozen=True)
class Boxes:
    """Annotated boxes of a key frame in its ego frame, in metres."""

    tokens: tuple[str, ...]
    """Token of each annotation."""
    category: tuple[str, ...]
    """Category names, such as `vehicle.car`."""
    center_ego: Float[Tensor, "n 3"]
    """Centre of each box."""
    size_m: Float[Tensor, "n 3"]
    """Length, width and height."""
    ego_from_box: Float[Tensor, "n 3 3"]
    """Rotation of each box, whose x axis points forward along its length."""
    visibility: Int64[Tensor, " n"]
    """Visibility level of the data source, 0 if unknown; see `Taxonomy.low_visibility`."""
    lidar_points: Int64[Tensor, " n"]
    """Number of LiDAR returns inside each box, from the tables."""
    speed_mps: Float[Tensor, " n"]
    """Speed of each object over ground, from its boxes in the key frames around; NaN if it is not known."""

    def __len__(self) -> int:
        return len(self.tokens)

    def in_categories(self, beginnings: tuple[str, ...]) -> Bool[Tensor, " n"]:
        """Return a mask of the boxes whose category name starts with one of some prefixes."""
        return torch.tensor([one.startswith(beginnings) for one in self.category], dtype=torch.bool)

    def corners_ego(self) -> Float[Tensor, "n 8 3"]:
        """Return the corners: the four of `footprint_ego`, then the four above them."""
        signs = [(1, -1), (1, 1), (-1, 1), (-1, -1)]
        unit = torch.tensor([(x, y, z) for z in (-1, 1) for x, y in signs], dtype=self.size_m.dtype) / 2
        ego_from_box = from_rotation(self.ego_from_box, self.center_ego)
        return transform_points(ego_from_box, unit * self.size_m[:, None])

    def footprint_ego(self) -> Float[Tensor, "n 4 2"]:
        """Return the bottom corners in BEV: front right, front left, back left, back right."""
        return self.corners_ego()[:, :4, :2]


@dataclass(frozen=True)
class KeyFrame:
    """One annotated moment of a drive."""

    token: str
    scene: str
    """Name of the scene."""
    timestamp_us: int
    """Time of the key frame in microseconds."""
    global_from_ego: Float[Tensor, "4 4"]
    """Pose of the car at the time of the first LiDAR (without a LiDAR record: of the nearest camera)."""
    place: Place
    """Where the scene was recorded: name of the map and file of its base map."""
    cameras: tuple[CameraRecord, ...]
    """Cameras that have an image and can be used, in the data set's default order."""
    sweeps: tuple[SweepRecord, ...]
    """LiDAR sweeps, LiDAR by LiDAR, latest first: the key frame's own, then earlier ones.

    A LiDAR without a sweep of this key frame is left out.
    """
    boxes: Boxes
    faulty_cameras: dict[str, str] = field(default_factory=dict)
    """What is wrong with the records of cameras that cannot be used, by their names."""


@dataclass(frozen=True)
class EgoPath:
    """The way of the car around a key frame: its known poses, ordered by time."""

    after_s: Float[Tensor, " p"]
    """Time of each pose after the key frame, in seconds; negative before it."""
    ego_from_car: Float[Tensor, "p 4 4"]
    """Ego frame at each of these times to the ego frame of the key frame."""


def transform_from_pose(pose: Float[Tensor, "*B 7"]) -> Float[Tensor, "*B 4 4"]:
    """Return the transforms of poses (x, y, z in metres, qw, qx, qy, qz)."""
    return from_rotation(rotation_from_quaternion(pose[..., 3:]), pose[..., :3])
