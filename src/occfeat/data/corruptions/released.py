"""The released nuScenes-C: corrupted images of the validation set, as files.

Its authors' documentation gives the path of an image as `CORRUPTION/SEVERITY/CAMERA/FILE`, with the file
name of the clean image; copies with a folder `samples` above the cameras, as nuScenes has, are read too.
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
from occfeat.data.paths import resolve
from occfeat.errors import DatasetError
from occfeat.settings.sections import CorruptionName, Severity


@dataclass(frozen=True)
class ReleasedCorruption:
    """One corruption at one severity, as the effect of `KeyFrames`: another file replaces an image."""

    folder: Path
    """Folder of the cameras' folders."""

    def __call__(
        self, read: ImageReader, camera: CameraRecord, token: str, epoch: int
    ) -> UInt8[Tensor, "3 H W"]:
        """Return the released image; the clean one is not read.

        Raises:
            KeyFrameError: It is missing, damaged, or of another size.
        """
        return read_image(resolve(self.folder, released_name(camera.path)), camera.size)


def open_released(
    root: Path, name: CorruptionName, severity: Severity, images: Sequence[KeyFrameFile], allowed: int
) -> ReleasedCorruption:
    """Open one corruption at one severity of the released set.

    Args:
        root: Folder that holds one folder per corruption.
        name: The corruption.
        severity: How strong it is.
        images: Clean images that others replace; all are looked up.
        allowed: Key frames that may lack some.

    Raises:
        DatasetError: There is no such folder, or more key frames lack images there.
    """
    folder = root / name / severity
    hint = f"It should hold {name}/{severity}/CAM_FRONT/….jpg and so on: unpack {name} there"
    if not folder.is_dir():
        raise DatasetError(f"There is no folder {folder}.", hint=f"{hint}.")
    released = ReleasedCorruption(folder / "samples" if (folder / "samples").is_dir() else folder)
    listing = Listing(released.folder)
    missing = [image for image in images if listing.look_up(released_name(image.path)).size <= 0]
    if (lacking := len({image.row for image in missing})) > allowed:
        message = f"{lacking} key frame(s) lack images in {released.folder}, {allowed} allowed. First:"
        first = [released_name(image.path) for image in missing[:3]]
        raise DatasetError(message, first=first, hint=f"{hint}, or allow more with `--engine.max-broken`.")
    return released


def released_name(path: str) -> str:
    """Return where the released set has the image of a clean one, below its folder of cameras."""
    clean = PurePosixPath(path)
    return f"{clean.parent.name}/{clean.name}"
