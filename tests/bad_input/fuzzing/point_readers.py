"""Readers of LiDAR files and of nuScenes' dialects."""

from pathlib import Path

import numpy as np

from occfeat.data.formats.points.files import check_points_file, read_points_file
from tests.bad_input.fuzzing.confined import Reader, Target
from tests.bad_input.fuzzing.data_readers import read_folder
from tests.bad_input.fuzzing.mutation import spoil_bytes, spoil_floats, spoil_json, spoil_number
from tests.support.dialect_folders import build_lyft, build_t4, build_truckscenes
from tests.support.point_files import write_pcd

FIELDS = np.dtype([("intensity", "u1"), ("x", "<f4"), ("y", "<f8"), ("ring", "<u2"), ("z", "<f4")])


def point_files(folder: Path) -> Reader:
    """PCD files of all kinds, NumPy arrays, and floats of four and of five."""
    random = np.random.default_rng(0)
    points = np.zeros(40, FIELDS)
    for name in ("x", "y", "z"):
        points[name] = random.normal(0, 20, 40)
    points["ring"], points["x"][3] = np.arange(40) % 8, np.nan
    plain = np.column_stack([points[name] for name in ("x", "y", "z", "intensity", "ring")]).astype("<f4")
    targets = []
    for encoding in ("ascii", "binary", "binary_compressed"):
        path = folder / f"{encoding}.pcd"
        path.write_bytes(write_pcd(points, encoding, height=4))
        targets += [Target(path, (spoil_bytes, spoil_number))] * 2
    for name, array in (("fields", points), ("plain", plain)):
        np.save(folder / f"{name}.npy", array)
        targets.append(Target(folder / f"{name}.npy", (spoil_bytes, spoil_number)))
    for width in (4, 5):
        np.nan_to_num(plain[:, :width]).tofile(folder / f"{width}.pcd.bin")
        targets.append(Target(folder / f"{width}.pcd.bin", (spoil_bytes, spoil_floats)))

    def read(path: Path) -> None:
        check_points_file(path, path.stat().st_size)
        assert np.isfinite(read_points_file(path).points[:, :3]).all()

    return Reader(targets, read)


def dialects(folder: Path) -> Reader:
    """Tables and files in which the dialects differ from nuScenes, up to samples and targets."""
    roots = [build(folder / build.__name__) for build in (build_truckscenes, build_lyft, build_t4)]
    targets = []
    for root in roots:
        tables = next(path for path in root.iterdir() if (path / "sample.json").is_file())
        for name in ("calibrated_sensor", "sample_data", "sample_annotation", "visibility", "category"):
            targets.append(Target(tables / f"{name}.json", (spoil_bytes, spoil_json, spoil_json)))
    for pattern in ("samples/LIDAR_LEFT/*.pcd", "data/LIDAR_CONCAT_INFO/*.json", "data/LIDAR_CONCAT/*.bin"):
        path = sorted(path for root in roots for path in root.glob(pattern))[0]
        targets.append(Target(path, (spoil_bytes, spoil_json) if path.suffix == ".json" else (spoil_bytes,)))

    def read(path: Path) -> None:
        read_folder(next(root for root in roots if root in path.parents), rebuild=True)

    return Reader(targets, read)
