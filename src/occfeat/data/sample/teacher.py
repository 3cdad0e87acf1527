"""What the teacher sees: its images, or its stored features.

Axes: `*B` is empty in a sample and one axis in a batch, `N` cameras, `h w` teacher image or its patches, `F`
teacher channels.
"""

from dataclasses import dataclass

from jaxtyping import Bool, Float, Float32, Int64, Shaped, UInt8
from torch import Tensor

from occfeat.data.sample.cameras import Cameras
from occfeat.data.sample.tensors import Tensors, with_zeros


@dataclass(frozen=True)
class FeatureMaps(Tensors):
    """Stored teacher features: the features of a patch are `values * scale`."""

    values: Shaped[Tensor, "*B N h w F"]
    """int8 or float16."""
    scales: Float32[Tensor, "*B N h w"]
    """One factor per patch."""

    def decode(self) -> Float32[Tensor, "*B N F h w"]:
        """Return the decoded features."""
        return (self.values.float() * self.scales[..., None]).movedim(-1, -3)


@dataclass(frozen=True)
class TeacherImages(Tensors):
    """The teacher's images."""

    images: UInt8[Tensor, "*B N 3 h w"]
    """The student's RGB images without augmentation, at the teacher's size."""
    cameras: Cameras
    """Calibration of these images, in the (possibly augmented) ego frame."""

    def with_absent(self, count: int) -> "TeacherImages":
        """Return the images of one key frame with those of absent cameras, `count` in all."""
        return TeacherImages(with_zeros(self.images, count), self.cameras.with_absent(count))


@dataclass(frozen=True)
class TeacherMaps(Tensors):
    """The teacher's features, from a store."""

    maps: FeatureMaps
    cameras: Cameras
    """Calibration of the teacher's images, in the (possibly augmented) ego frame."""

    def with_absent(self, count: int) -> "TeacherMaps":
        """Return the features of one key frame with those of absent cameras, `count` in all."""
        maps = FeatureMaps(with_zeros(self.maps.values, count), with_zeros(self.maps.scales, count))
        return TeacherMaps(maps, self.cameras.with_absent(count))


@dataclass(frozen=True)
class TeacherViews(TeacherMaps):
    """The teacher's features of several key frames, whose cameras are all those of one large rig."""

    own: Bool[Tensor, "*B N"]
    """Whether a camera is one of the key frame's own, which come first."""
    camera: Int64[Tensor, "*B N"]
    """Which camera of the rig it is."""
    depth_m: Float[Tensor, "*B N rows columns"]
    """Depth of the farthest LiDAR return in each cell of each image, see `sweeps.views`."""

    def with_absent(self, count: int) -> "TeacherViews":
        """Return the features with those of absent cameras, `count` in all or as many as there are."""
        count = max(count, len(self.own))
        plain = super().with_absent(count)
        own, camera, depth_m = (with_zeros(part, count) for part in (self.own, self.camera, self.depth_m))
        return TeacherViews(plain.maps, plain.cameras, own, camera, depth_m)
