"""The released nuScenes-C: corrupted images of the validation set, as files.

Its authors' documentation gives the place of an image as `CORRUPTION/SEVERITY/CAMERA/FILE`, with the file
name of the clean image; copies with a folder `samples` above the cameras, as nuScenes has, are read too.
"""

from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from jaxtyping import UInt8
from torch import Tensor

from occfeat.config import CorruptionName, Severity
from occfeat.data.images import read_image
from occfeat.data.keyframe import CameraRecord
from occfeat.data.paths import resolve
from occfeat.errors import DatasetError


@dataclass(frozen=True)
class ReleasedCorruption:
    """One corruption at one severity, as the effect of `KeyFrames`: another file takes an image's place."""

    folder: Path
    """Folder of the cameras' folders."""

    def __call__(
        self, image: UInt8[Tensor, "3 H W"], camera: CameraRecord, token: str, epoch: int
    ) -> UInt8[Tensor, "3 H W"]:
        """The released image.

        Raises:
            KeyFrameError: It is missing, damaged, or of another size.
        """
        clean = PurePosixPath(camera.path)
        return read_image(resolve(self.folder, f"{clean.parent.name}/{clean.name}"), camera.size)


def open_released(root: Path, name: CorruptionName, severity: Severity) -> ReleasedCorruption:
    """One corruption at one severity of the released set.

    Args:
        root: Folder that holds one folder per corruption.
        name: The corruption.
        severity: How strong it is.

    Raises:
        DatasetError: There is no such folder.
    """
    folder = root / name / severity
    if not folder.is_dir():
        hint = f"It should hold {name}/{severity}/CAM_FRONT/….jpg and so on: unpack {name} there."
        raise DatasetError(f"There is no folder {folder}.", hint=hint)
    return ReleasedCorruption(folder / "samples" if (folder / "samples").is_dir() else folder)
