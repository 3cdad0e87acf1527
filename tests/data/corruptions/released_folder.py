"""A folder like the released nuScenes-C: clean images upside down, under the published names."""

from pathlib import Path

from PIL import Image, ImageOps

from occfeat.data.index.index import Index


def write_released(root: Path, index: Index, corruption: str, severity: str, *, between: str = "") -> None:
    """Write one corruption of every key frame."""
    for row in index.rows("all"):
        for camera in index.key_frame(row).cameras:
            path = root / corruption / severity / between / camera.path.removeprefix("samples/")
            path.parent.mkdir(parents=True, exist_ok=True)
            with Image.open(index.root / camera.path) as image:
                ImageOps.flip(image).save(path, quality=95)
