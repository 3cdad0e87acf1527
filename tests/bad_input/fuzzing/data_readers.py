"""Readers of a data folder: tables, index, splits, LiDAR, images, maps."""

from collections.abc import Iterable
from pathlib import Path

import cv2
import numpy as np
from PIL import Image

from occfeat.data.dataset import BrokenKeyFrame, Draw, KeyFrames
from occfeat.data.formats.nuscenes.base_map import read_base_map
from occfeat.data.formats.nuscenes.map_expansion import read_expansion
from occfeat.data.formats.nuscenes.tables import NEEDED_TABLES, PLACE_TABLES
from occfeat.data.formats.points.floats import read_floats
from occfeat.data.images import read_image, read_size, resize
from occfeat.data.index.index import Index
from occfeat.data.maps.masks import LAYERS
from occfeat.data.sample.contents import Contents
from occfeat.geometry.grid import VoxelGrid
from occfeat.pretraining.network import TargetMaker
from occfeat.pretraining.objectives.build import build_objectives
from occfeat.settings.sections import DataConfig, PretrainLossConfig, ViewConfig
from occfeat.training.loading.loaders import collate_readable
from tests.bad_input.fuzzing.confined import Reader, Target
from tests.bad_input.fuzzing.mutation import spoil_bytes, spoil_floats, spoil_json
from tests.support.map_files import crossroads, write_base_map, write_expansion
from tests.support.nuscenes_folder import build_nuscenes_folder

GRID = VoxelGrid((-16.0, -16.0, -1.0), (16.0, 16.0, 3.0), (1.0, 1.0, 1.0))
VIEW = ViewConfig(image_size=(16, 24), sweeps=2)


def _small_folder(folder: Path) -> Path:
    return build_nuscenes_folder(
        folder / "set",
        key_frames=2,
        image_size=(20, 32),
        channels=("CAM_FRONT", "CAM_BACK"),
        boxes=4,
        returns=20,
    )


def read_folder(root: Path, *, rebuild: bool) -> None:
    """Open the index and make training targets of every key frame that can be read."""
    opened = Index.open(DataConfig(root=root), rebuild=rebuild)
    opened.splits()
    opened.rows("all")
    read_key_frames(opened, range(len(opened)))


def read_key_frames(index: Index, rows: Iterable[int]) -> None:
    key_frames = KeyFrames(index, VIEW, Contents(points=True, classes=("vehicle",)), grid=GRID)
    maker = TargetMaker(build_objectives(PretrainLossConfig(features=0, unknown="ignore")), GRID)
    for row in rows:
        index.faults_of(row)
        sample = key_frames.read(Draw(row, 0))
        if isinstance(sample, BrokenKeyFrame):
            continue
        loaded = collate_readable([sample])
        assert loaded.batch is not None
        maker(loaded.batch)


def tables(folder: Path) -> Reader:
    """All tables that an index is made of, up to samples and targets."""
    root = _small_folder(folder)
    names = (*NEEDED_TABLES, *PLACE_TABLES)
    paths = [root / "v1.0-mini" / f"{name}.json" for name in names]
    targets = [Target(path, (spoil_bytes, spoil_json, spoil_json)) for path in paths]
    return Reader(targets, lambda _: read_folder(root, rebuild=True))


def index(folder: Path) -> Reader:
    """The index file and the stamps beside it."""
    root = _small_folder(folder)
    file = Index.open(DataConfig(root=root)).file
    targets = [Target(file, (spoil_bytes,))] * 7 + [
        Target(file.with_suffix(".json"), (spoil_bytes, spoil_json))
    ]
    return Reader(targets, lambda _: read_folder(root, rebuild=False))


def splits(folder: Path) -> Reader:
    """A data folder's own splits."""
    root = _small_folder(folder)
    path = root / "splits.json"
    path.write_text('{"train": ["scene-0061"], "val": ["scene-0103"]}')
    Index.open(DataConfig(root=root))

    def read(_: Path) -> None:
        opened = Index.open(DataConfig(root=root))
        for split in opened.splits():
            opened.rows(split)

    return Reader([Target(path, (spoil_bytes, spoil_json))], read)


def lidar(folder: Path) -> Reader:
    """A LiDAR file, up to the targets that are made of it."""
    root = _small_folder(folder)
    file = sorted((root / "samples" / "LIDAR_TOP").iterdir())[0]
    opened = Index.open(DataConfig(root=root))
    row = next(row for row in range(4) if opened.key_frame(row).sweeps[0].path.endswith(file.name))

    def read(path: Path) -> None:
        read_key_frames(opened, [row])
        read_floats(path)

    return Reader([Target(file, (spoil_bytes, spoil_floats))], read)


def images(folder: Path) -> Reader:
    """Files of several formats and kinds."""
    noise = np.random.default_rng(0).integers(0, 256, (6, 8, 3), dtype=np.uint8)
    picture = Image.fromarray(noise).resize((64, 40))
    kinds = {"RGB": "jpg", "L": "jpg", "CMYK": "jpg", "P": "png", "RGBA": "png", "1": "png", "I;16": "png"}
    targets = []
    for mode, ending in kinds.items():
        path = folder / f"{mode.replace(';', '')}.{ending}"
        if mode == "I;16":
            cv2.imwrite(str(path), noise[..., 0].astype(np.uint16) * 200)
        else:
            picture.convert(mode).save(path)
        targets.append(Target(path, (spoil_bytes,)))
    picture.save(folder / "progressive.jpg", progressive=True)
    for ending in ("bmp", "tif", "webp"):
        picture.save(folder / f"picture.{ending}")
    others = [folder / name for name in ("progressive.jpg", "picture.bmp", "picture.tif", "picture.webp")]
    targets += [targets[0], *(Target(path, (spoil_bytes,)) for path in others)]

    def read(path: Path) -> None:
        read_size(path)
        resize(read_image(path), (16, 24))

    return Reader(targets, read)


def map_expansion(folder: Path) -> Reader:
    """A map expansion, up to its cells."""
    path = write_expansion(folder, crossroads(100.0, 50.0))
    cells_from_global = np.array(((2.0, 0.0, -150.0), (0.0, 2.0, -50.0), (0.0, 0.0, 1.0)))

    def read(file: Path) -> None:
        read_expansion.cache_clear()
        expansion = read_expansion(file)
        for layer in LAYERS:
            expansion.draw(layer, cells_from_global, (100, 100))

    return Reader([Target(path, (spoil_bytes, spoil_json, spoil_json))], read)


def base_map(folder: Path) -> Reader:
    """A base map, up to its cells."""
    white = np.random.default_rng(0).integers(0, 2, (70, 90), dtype=np.uint8)
    targets = [
        Target(write_base_map(folder / f"{mode}.png", white, mode), (spoil_bytes,))
        for mode in ("L", "1", "RGB", "P")
    ]

    def read(file: Path) -> None:
        read_base_map.cache_clear()
        read_base_map(file).draw("drivable_area", np.diag((2.0, 2.0, 1.0)), (20, 20))

    return Reader(targets, read)
