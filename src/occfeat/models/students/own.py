"""A user's module as student; its output is checked at every step.

Axes: `B` key frames, `N` cameras, `H W` image in pixels, `C` channels, `X Y` BEV cells (x forward, y left).
"""

from jaxtyping import Float, UInt8
from torch import Tensor, nn

from occfeat.data.sample.cameras import Cameras
from occfeat.errors import SettingsError
from occfeat.geometry.grid import VoxelGrid
from occfeat.models.students.student import Student


class OwnStudent(Student):
    """A user's module as student.

    Args:
        module: Takes images and cameras, gives BEV features (B, C, X, Y) of the grid; its attribute
            `channels` is C.
        grid: The grid its features are for.

    Raises:
        SettingsError: The module has no `channels` that is a number above 0.
    """

    def __init__(self, module: nn.Module, grid: VoxelGrid) -> None:
        super().__init__()
        channels = getattr(module, "channels", None)
        if not isinstance(channels, int) or channels < 1:
            raise SettingsError(
                f"Expected a positive integer `channels` on the student {type(module).__name__}.",
                hint="Give it an attribute `channels`: the C of its output (B, C, X, Y).",
            )
        self.channels = channels
        self.grid = grid
        self.module = module

    def forward(self, images: UInt8[Tensor, "B N 3 H W"], cameras: Cameras) -> Float[Tensor, "B C X Y"]:
        """Return the BEV features of the module.

        Raises:
            SettingsError: They do not fit the grid.
        """
        bev = self.module(images, cameras)
        wanted = (len(images), self.channels, *self.grid.bev.shape)
        found = tuple(bev.shape) if isinstance(bev, Tensor) else type(bev).__name__
        if found != wanted:
            raise SettingsError(
                f"Expected BEV features of key frames, channels and cells along x and y {wanted} from the "
                f"student {type(self.module).__name__}, got {found}.",
                hint="Change its output or its attribute `channels`, or the bounds or cells of the grid.",
            )
        return bev
