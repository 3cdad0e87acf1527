"""Settings of a street world. Imports no torch, so that `--help` answers at once."""

from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, model_validator

from occfeat.settings.strict import ImageSize, Positive, Strict


class WorldConfig(Strict):
    """Build a procedural street world in nuScenes format: towns, traffic, cameras, LiDAR, labels and maps."""

    out: Path
    """Folder of the world; must be new, empty or an unfinished build of the same world."""
    scenes: Positive = 40
    """Scenes in all splits together."""
    key_frames: Positive = 4
    """Key frames per scene, half a second apart."""
    val_scenes: Annotated[int, Field(ge=0)] | None = None
    """Scenes of the split `val`, in a town of its own. None: a fifth, at least one of three."""
    test_scenes: Annotated[int, Field(ge=0)] | None = None
    """Scenes of the split `test`, in another town of its own. None: a fifth, at least one of three."""
    seed: Annotated[int, Field(ge=0)] = 0
    """The same seed and settings give the same world."""
    town_size: Annotated[int, Field(ge=3, le=20)] = 8
    """Junctions along each side of a town; 8 makes a town of a kilometre. Small ones are planned fast; to
    draw the map of one of 20 takes 2.5 GB of memory."""
    rig: str = "nuscenes"
    """Cameras and LiDAR: `nuscenes` (6 cameras), `wide5`, `truck8`, `fisheye4` (190 degrees each), `pinhole8`
    (the same view), `raw6` (distorted), `lidars3` (3 LiDARs), or the path of a .json file."""
    image_size: ImageSize = (224, 400)
    """Height and width of the images, `224 400` or `224x400`; some rigs have cameras with a share of it."""
    lights: tuple[Literal["noon", "low_sun", "overcast", "dusk", "night", "wet", "fog"], ...] = ()
    """Kinds of light and weather to choose from. Empty: all of them."""
    sweeps: Annotated[int, Field(ge=0, le=9)] = 0
    """LiDAR sweeps before each key frame but the first that are kept as well; all moves on between them. 9 at
    20 Hz and 4 at 10 Hz fill the time between two key frames."""
    sweep_hz: Literal[10, 20] = 20
    """Revolutions of the LiDAR per second: sweeps are 50 or 100 ms apart."""
    truth: bool = False
    """Write depth, class and object of every pixel too, into `truth`."""
    workers: Annotated[int, Field(ge=0)] = 0
    """Processes; 0 starts one per core. The world does not depend on it."""

    @model_validator(mode="after")
    def _check(self) -> "WorldConfig":
        """Refuse more sweeps than there is time for between two key frames."""
        most = self.sweep_hz // 2 - 1
        if self.sweeps > most:
            raise ValueError(f"expected at most {most} sweeps at sweep_hz {self.sweep_hz}, got {self.sweeps}")
        return self
