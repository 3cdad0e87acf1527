"""Readers of an Argoverse 2 sensor set: its tables, a sweep, a map, and names of files."""

import io
import random
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from pyarrow import feather

from occfeat.data.formats.argoverse2.lidar import _lidar_positions
from occfeat.data.formats.argoverse2.map_file import MAP_LAYERS, read_map_file
from occfeat.data.index.index import Index
from occfeat.settings.sections import DataConfig
from tests.bad_input.fuzzing.confined import Reader, Target
from tests.bad_input.fuzzing.data_readers import read_folder, read_key_frames
from tests.bad_input.fuzzing.mutation import spoil_bytes, spoil_json
from tests.support.argoverse_folder import build_argoverse_folder, write_map_file
from tests.support.map_files import crossroads, write_expansion
from tests.support.nuscenes_folder import build_nuscenes_folder

ODD_VALUES: dict[str, tuple[Any, ...]] = {
    "f": (np.nan, np.inf, -np.inf, 0.0, 1e300, -1e300, 1e-320),
    "i": (0, -1, 2**62, -(2**63), 1),
    "u": (0, 1, 255),
    "O": ("", "\0", "../up", "ring_front_center", "x" * 5000, "REGULAR_VEHICLE"),
}
"""Values by the kind of a column."""


def spoil_table(data: bytes, draw: random.Random) -> bytes:
    """A feather file that is whole, of which columns or rows say something else."""
    table = feather.read_table(io.BytesIO(data))
    columns = {name: table[name].combine_chunks() for name in table.column_names}
    for _ in range(draw.choice((1, 1, 2, 4))):
        name = draw.choice(list(columns) or ["none"])
        values = columns.get(name, pa.array([0]))
        match draw.randrange(8):
            case 0:
                columns.pop(name, None)
            case 7 if name in columns:
                other = draw.choice(list(columns))
                columns[name], columns[other] = columns[other], columns[name]
            case 1:
                columns[name] = pa.array([None] * len(values), values.type)
            case 2:
                columns[name] = pa.array([str(value) for value in values.to_pylist()])
            case 3:
                columns[name] = pa.array([[1.0]] * len(values))
            case 4:
                rows = sorted(draw.choices(range(len(values)), k=draw.randrange(3))) if len(values) else []
                columns = {one: column.take(pa.array(rows, pa.int64())) for one, column in columns.items()}
            case _ if len(values) and values.null_count == 0 and not pa.types.is_list(values.type):
                changed = np.array(values.to_pylist() if pa.types.is_string(values.type) else values)
                changed = changed.astype(object) if changed.dtype.kind == "U" else changed.copy()
                odd = draw.choice(ODD_VALUES[changed.dtype.kind])
                with np.errstate(over="ignore"):
                    changed[draw.randrange(len(changed))] = np.array(odd).astype(changed.dtype)[()]
                columns[name] = pa.array(changed)
    sizes = {len(column) for column in columns.values()}
    written = io.BytesIO()
    feather.write_feather(pa.table(columns if len(sizes) == 1 else {}), written, compression="uncompressed")
    return written.getvalue()


def _small_set(folder: Path) -> Path:
    source = build_nuscenes_folder(
        folder / "set",
        key_frames=2,
        image_size=(20, 32),
        channels=("CAM_FRONT", "CAM_BACK"),
        boxes=4,
        returns=20,
        sweeps=1,
    )
    return build_argoverse_folder(source, folder / "sensor")


def tables(folder: Path) -> Reader:
    """The tables of a log, up to samples and targets."""
    root = _small_set(folder)
    paths = sorted((root / "train").glob("*/*.feather")) + sorted((root / "train").glob("*/calibration/*"))

    def read(_: Path) -> None:
        _lidar_positions.cache_clear()
        read_folder(root, rebuild=True)

    return Reader([Target(path, (spoil_bytes, spoil_table, spoil_table)) for path in paths], read)


def sweep(folder: Path) -> Reader:
    """A LiDAR file, compressed in two ways and not at all, up to the targets that are made of it."""
    root = _small_set(folder)
    opened = Index.open(DataConfig(root=root))
    plain, packed = (root / opened.key_frame(row).sweeps[0].path for row in (0, 2))
    feather.write_feather(feather.read_table(plain), str(plain), compression="uncompressed")
    feather.write_feather(feather.read_table(packed), str(packed), compression="lz4")
    targets = [Target(path, (spoil_bytes, spoil_table)) for path in (plain, packed)]
    return Reader(targets, lambda path: read_key_frames(opened, [0 if path == plain else 2]))


def map_file(folder: Path) -> Reader:
    """A map, up to its cells."""
    from occfeat.data.formats.nuscenes.map_expansion import read_expansion

    shapes = read_expansion(write_expansion(folder, crossroads(100.0, 50.0)))
    path = write_map_file(folder / "log_map_archive_x____PIT_city_1.json", shapes)
    cells_from_global = np.array(((2.0, 0.0, -150.0), (0.0, 2.0, -50.0), (0.0, 0.0, 1.0)))

    def read(file: Path) -> None:
        read_map_file.cache_clear()
        found = read_map_file(file)
        for layer in MAP_LAYERS:
            found.draw(layer, cells_from_global, (100, 100))

    return Reader([Target(path, (spoil_bytes, spoil_json, spoil_json))], read)
