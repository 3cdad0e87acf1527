"""One street in every light, seen by the front camera: a sheet of pictures, and what a key frame costs.

    PYTHONPATH=experiments python -m concluded.street OUT [--seed 0]

Builds a world of one scene for each light below OUT, all in one process, writes OUT/lights.jpg
and prints what each took.
"""

import argparse
import time
from pathlib import Path

from PIL import Image, ImageDraw

import occfeat
from occfeat.data.index.index import Index
from occfeat.settings.sections import DataConfig
from streetworld.rendering.light import LIGHTS

SIZE = (224, 400)
COLUMNS = 2
KEY_FRAMES = 4


def build(out: Path, light: str, seed: int) -> float:
    """Build a world of one scene; return the seconds it took."""
    begin = time.perf_counter()
    occfeat.build_world(
        out,
        scenes=1,
        val_scenes=0,
        test_scenes=0,
        key_frames=KEY_FRAMES,
        lights=(light,),
        image_size=SIZE,
        seed=seed,
        workers=1,
    )
    return time.perf_counter() - begin


def front_images(world: Path) -> list[Image.Image]:
    """Return what the front camera sees in the first and in the last key frame."""
    index = Index.open(DataConfig(root=world))
    cameras = (index.key_frame(int(row)).cameras[0] for row in (0, len(index) - 1))
    return [Image.open(world / camera.path) for camera in cameras]


def sheet(images: dict[str, Image.Image]) -> Image.Image:
    """Pictures in rows, each with its name."""
    height, width = SIZE
    rows = -(-len(images) // COLUMNS)
    whole = Image.new("RGB", (COLUMNS * width, rows * height), "white")
    for position, (name, image) in enumerate(images.items()):
        corner = (position % COLUMNS * width, position // COLUMNS * height)
        whole.paste(image, corner)
        pen = ImageDraw.Draw(whole)
        pen.text((corner[0] + 6, corner[1] + 4), name, "white", stroke_width=2, stroke_fill="black")
    return whole


def main() -> None:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("out", type=Path)
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    images = {}
    for light in LIGHTS:
        seconds = build(given.out / light, light, given.seed)
        first, last = front_images(given.out / light)
        images[light] = first
        print(f"{light}: {seconds:.1f} s for {KEY_FRAMES} key frames, town and tables included", flush=True)
    images[f"{light}, 1.5 s later"] = last
    sheet(images).save(given.out / "lights.jpg", quality=88)


if __name__ == "__main__":
    main()
