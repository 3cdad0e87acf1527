"""Requests for the contents of a sample."""

from dataclasses import dataclass
from typing import Protocol, runtime_checkable

from occfeat.data.sample.teacher import FeatureMaps
from occfeat.settings.sections import Conflicts


@runtime_checkable
class StoredFeatures(Protocol):
    """A store of teacher features, such as a teacher cache."""

    @property
    def image_size(self) -> tuple[int, int]:
        """(height, width) in pixels of the teacher's images."""

    def read(self, row: int) -> FeatureMaps:
        """Return the features of the key frame of a row (`N h w F`), or raise a `KeyFrameError`."""


@dataclass(frozen=True)
class ImagesForTeacher:
    """Requests images for the teacher."""

    image_size: tuple[int, int]
    """(height, width) in pixels."""


@dataclass(frozen=True)
class ViewsRequest:
    """Requests stored teacher features of all key frames around a key frame."""

    store: StoredFeatures
    window_s: float
    """Largest distance in time from the key frame."""


@dataclass(frozen=True)
class WindowRequest:
    """Requests what the sweeps around a key frame say together of its voxels."""

    window_s: float
    """Seconds before and after the key frame."""
    conflicts: Conflicts = "key-sweep"
    """Who decides where rays conflict."""


@dataclass(frozen=True)
class TimesRequest:
    """Requests what the sweeps at some times say of the voxels."""

    times_s: tuple[float, ...]
    """Times after the key frame; negative before it."""
    tolerance_s: float
    """Largest distance in time of a sweep."""


@dataclass(frozen=True)
class PathRequest:
    """Requests the cells that the car covers around the time of a key frame."""

    window_s: float
    """Largest distance in time from the key frame."""
    car_lower_m: tuple[float, float]
    """Back right corner of the car in its ego frame."""
    car_upper_m: tuple[float, float]
    """Front left corner of the car in its ego frame."""


@dataclass(frozen=True)
class Contents:
    """Contents of a sample besides the student's images and cameras."""

    points: bool = False
    """LiDAR returns."""
    classes: tuple[str, ...] = ()
    """Classes of the BEV labels. Empty: no labels."""
    motion: bool = False
    """With labels, which of their objects move and which stand still."""
    teacher: ImagesForTeacher | StoredFeatures | ViewsRequest | None = None
    """Images for the teacher, a store of its features, or those of several key frames. None: no teacher."""
    window: WindowRequest | None = None
    """States of the voxels from the sweeps around the key frame. None: not needed."""
    times: TimesRequest | None = None
    """States of the voxels at several times. None: not needed."""
    path: PathRequest | None = None
    """Cells that the car covers. None: not needed."""
