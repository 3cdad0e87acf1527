"""Components of Waymo Open Dataset v2 as parquet files, as `columns.txt` of the data set lists them."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

SEGMENT, TIME = "key.segment_context_name", "key.frame_timestamp_micros"
CAMERA, LASER, OBJECT = "key.camera_name", "key.laser_name", "key.laser_object_id"
MATRIX = pa.list_(pa.float64(), 16)
RANGES, SHAPE = pa.list_(pa.float32()), pa.list_(pa.int32(), 3)
FIRST = {"range_image_return1.values": RANGES, "range_image_return1.shape": SHAPE}
# Rows may lack it: pyarrow below 26 reads no lists of a fixed size that are null.
SECOND = {"range_image_return2.values": RANGES, "range_image_return2.shape": pa.list_(pa.int32())}
VECTOR = ("x", "y", "z")
INTRINSICS = ("f_u", "f_v", "c_u", "c_v", "k1", "k2", "p1", "p2", "k3")

KEYS = {
    "vehicle_pose": (TIME,),
    "camera_image": (TIME, CAMERA),
    "camera_calibration": (CAMERA,),
    "lidar": (TIME, LASER),
    "lidar_pose": (TIME, LASER),
    "lidar_calibration": (LASER,),
    "lidar_box": (TIME, OBJECT),
    "stats": (TIME,),
}
CLASSES = {
    "vehicle_pose": "VehiclePoseComponent",
    "camera_image": "CameraImageComponent",
    "camera_calibration": "CameraCalibrationComponent",
    "lidar": "LiDARComponent",
    "lidar_pose": "LiDARPoseComponent",
    "lidar_calibration": "LiDARCalibrationComponent",
    "lidar_box": "LiDARBoxComponent",
    "stats": "StatsComponent",
}
COLUMNS: dict[str, dict[str, pa.DataType]] = {
    "vehicle_pose": {"world_from_vehicle.transform": MATRIX},
    "camera_image": {"image": pa.binary(), "pose.transform": MATRIX, "pose_timestamp": pa.float64()},
    "camera_calibration": {
        **{f"intrinsic.{name}": pa.float64() for name in INTRINSICS},
        "extrinsic.transform": MATRIX,
        "width": pa.int32(),
        "height": pa.int32(),
    },
    "lidar": {**FIRST, **SECOND},
    "lidar_pose": FIRST,
    "lidar_calibration": {
        "extrinsic.transform": MATRIX,
        "beam_inclination.min": pa.float64(),
        "beam_inclination.max": pa.float64(),
        "beam_inclination.values": pa.list_(pa.float64()),
    },
    "lidar_box": {
        **{f"box.center.{axis}": pa.float64() for axis in VECTOR},
        **{f"box.size.{axis}": pa.float64() for axis in VECTOR},
        "box.heading": pa.float64(),
        "type": pa.int8(),
        "num_lidar_points_in_box": pa.int64(),
        "num_top_lidar_points_in_box": pa.int64(),
    },
    "stats": {name: pa.string() for name in ("time_of_day", "location", "weather")},
}
KEY_TYPES = {TIME: pa.int64(), CAMERA: pa.int8(), LASER: pa.int8(), OBJECT: pa.string()}

Row = Mapping[str, Any]


class ComponentWriter:
    """Writes one component of a segment, a row group per call, with the column `index` of released files."""

    def __init__(self, folder: Path, tag: str, segment: str) -> None:
        self.segment, self.tag = segment, tag
        prefix, keys = f"[{CLASSES[tag]}].", {name: KEY_TYPES[name] for name in KEYS[tag]}
        columns = {f"{prefix}{name}": kind for name, kind in COLUMNS[tag].items()}
        self.names = dict(zip([*KEYS[tag], *COLUMNS[tag]], [*keys, *columns], strict=True))
        self.schema = pa.schema({"index": pa.string(), SEGMENT: pa.string(), **keys, **columns})
        path = folder / tag / f"{segment}.parquet"
        path.parent.mkdir(parents=True, exist_ok=True)
        self.file = pq.ParquetWriter(path, self.schema)

    def write(self, rows: Sequence[Row]) -> None:
        """Write rows, whose fields are named without the class of the component."""
        full = [
            {"index": f"{self.segment};{number}", SEGMENT: self.segment}
            | {self.names[name]: value for name, value in row.items()}
            for number, row in enumerate(rows)
        ]
        self.file.write_table(pa.Table.from_pylist(full, schema=self.schema))

    def close(self) -> None:
        """End the file."""
        self.file.close()


def write_component(folder: Path, tag: str, segment: str, rows: Sequence[Row]) -> Path:
    """Write a whole component and return its file."""
    writer = ComponentWriter(folder, tag, segment)
    writer.write(rows)
    writer.close()
    return folder / tag / f"{segment}.parquet"
