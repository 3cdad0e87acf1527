"""The base class of students: networks from images and calibration to BEV features.

Axes: `B` key frames, `N` cameras, `H W` image in pixels, `C` channels, `X Y` BEV cells (x forward, y left).
"""

from jaxtyping import Float, UInt8
from torch import Tensor, nn

from occfeat.data.sample.cameras import Cameras
from occfeat.geometry.grid import VoxelGrid


class Student(nn.Module):
    """The interface of a student.

    - It has `channels` and `grid` once it is built, and a `forward` as below.
    - The calibration belongs to these very images: whoever resizes or flips them changes it, too.
    - Cameras may have lenses, and fisheyes see behind their image plane. Project by `geometry.camera` or lift
      by `models.lifting`; the depths of these say what is seen.
    - The rig may differ between key frames, and so may the number of cameras between batches. A camera that
      is not `present` must not contribute; its image is black.
    - A key frame gives the same features alone and in a batch. Normalise within a key frame or an image; the
      statistics of a pretrained backbone are the exception.
    - Whatever is computed from the calibration is exact to a fraction of a pixel under autocast, too.
    - Weights are named by its attributes. A run ships them as `student.…`.
    """

    channels: int
    """C, the channels of the BEV features."""
    grid: VoxelGrid
    """The voxels; BEV features are those of its cells seen from above."""

    def forward(self, images: UInt8[Tensor, "B N 3 H W"], cameras: Cameras) -> Float[Tensor, "B C X Y"]:
        """Return BEV features.

        Args:
            images: RGB, 0 to 255.
            cameras: Calibration of these images, in the ego frame of the grid.
        """
        raise NotImplementedError
