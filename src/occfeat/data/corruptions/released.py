"""The released nuScenes-C: corrupted images of the validation set, as files.

According to its authors, the path of an image is `CORRUPTION/SEVERITY/CAMERA/FILE`, with the file name of the
clean image. Copies with a folder `samples` above the cameras, as in nuScenes, are read, too.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from jaxtyping import UInt8
from torch import Tensor

from occfeat.data.check.files import KeyFrameFile
from occfeat.data.check.listing import Listing
from occfeat.data.dataset import ImageReader
from occfeat.data.images import read_image
from occfeat.data.keyframe import CameraRecord
from occfeat.data.source.paths import resolve
from occfeat.errors import DatasetError, KeyFrameError
from occfeat.settings.sections import CorruptionName, Severity


@dataclass(frozen=True)
class ReleasedCorruption:
    """One corruption at one severity, as the effect of `KeyFrames`: replaces image files."""

    folder: Path
    """Folder that contains the cameras' folders."""

    def __call__(
        self, read: ImageReader, camera: CameraRecord, token: str, epoch: int
    ) -> UInt8[Tensor, "3 H W"]:
        """Return the released image; the clean one is not read, unless the released one is lost.

        Raises:
            KeyFrameError: It is missing, damaged, or of another size.
        """
        try:
            return read_image(resolve(self.folder, released_name(camera.path)), camera.size)
        except KeyFrameError:
            read()  # if the clean one is lost as well, the camera is absent from both
            raise


def open_released(
    root: Path, name: CorruptionName, severity: Severity, images: Sequence[KeyFrameFile], allowed: int
) -> ReleasedCorruption:
    """Open one corruption at one severity of the released set.

    Args:
        root: Folder that contains one folder per corruption.
        name: The corruption.
        severity: Its severity.
        images: Clean images to replace; all are looked up.
        allowed: Number of key frames that can be incomplete.

    Raises:
        DatasetError: The folder does not exist, or more key frames are incomplete.
    """
    folder = root / name / severity
    hint = f"Unpack {name} to {name}/{severity}/CAM_FRONT/….jpg and so on"
    if not folder.is_dir():
        raise DatasetError(f"The folder {folder} does not exist.", hint=f"{hint}.")
    released = ReleasedCorruption(folder / "samples" if (folder / "samples").is_dir() else folder)
    listing = Listing(released.folder)
    missing = [image for image in images if listing.look_up(released_name(image.path)).size <= 0]
    if (lacking := len({image.row for image in missing})) > allowed:
        message = f"{lacking} key frame(s) are incomplete in {released.folder}, {allowed} allowed. First:"
        first = [released_name(image.path) for image in missing[:3]]
        raise DatasetError(message, first=first, hint=f"{hint}, or allow more with `--engine.max-broken`.")
    return released


def released_name(path: str) -> str:
    """Return the path of a released image below the folder of cameras."""
    clean = PurePosixPath(path)
    return f"{clean.parent.name}/{clean.name}"
