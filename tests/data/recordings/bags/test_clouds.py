"""Clouds of any layout, beside a plain reading of each point; times of points of every driver."""

import struct
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from rosbags.typesys import get_types_from_msg

from occfeat.data.recordings.bags.bag import open_bag
from occfeat.data.recordings.bags.clouds.read import Cloud, read_cloud
from occfeat.data.recordings.bags.clouds.times import seconds_after
from occfeat.errors import MessageError
from tests.support.recordings.bag_writer import FORMS, BagFile, Form
from tests.support.recordings.content import POINT, points

STAMP_US = 1_700_000_000_250_000
CLOUD = "sensor_msgs/msg/PointCloud2"
LAYOUTS: dict[str, dict[str, Any]] = {
    "packed": {"names": "xyz", "formats": ["f4"] * 3, "offsets": [0, 4, 8], "itemsize": 12},
    "pcl": {
        "names": ["x", "y", "z", "intensity", "ring", "time"],
        "formats": ["f4", "f4", "f4", "f4", "u2", "f4"],
        "offsets": [0, 4, 8, 16, 20, 24],
        "itemsize": 32,
    },
    "reversed": {
        "names": ["ring", "intensity", "z", "y", "x"],
        "formats": ["u1", "u1", "f8", "f8", "f8"],
        "offsets": [1, 0, 2, 10, 18],
        "itemsize": 27,
    },
    "whole": {
        "names": ["x", "y", "z", "reflectivity", "line"],
        "formats": ["i2", "i2", "i4", "u4", "i1"],
        "offsets": [0, 2, 4, 8, 13],
        "itemsize": 16,
    },
}


def send(path: Path, form: Form = "mcap", change: Any = None, **layout: Any) -> Cloud:
    """A cloud that went through a bag."""
    with BagFile(path, form) as bag:
        message = bag.cloud(STAMP_US, "/lidar", **layout)
        if change is not None:
            change(message)
        bag.write("/points", CLOUD, 7, message)
    with open_bag([bag.path]) as opened:
        (message,) = opened.messages(["/points"])
        return read_cloud(message)


def by_struct(message: Any) -> list[tuple[float, ...]]:
    """x, y, z and intensity of all points, one by one."""
    codes = {1: "b", 2: "B", 3: "h", 4: "H", 5: "i", 6: "I", 7: "f", 8: "d"}
    fields = {one.name: (one.offset, codes[one.datatype]) for one in message.fields}
    order = ">" if message.is_bigendian else "<"
    rows = []
    for row in range(message.height):
        for column in range(message.width):
            start = row * message.row_step + column * message.point_step
            read = {
                name: struct.unpack_from(order + code, message.data.tobytes(), start + offset)[0]
                for name, (offset, code) in fields.items()
            }
            rows.append((read["x"], read["y"], read["z"], read.get("intensity", read.get("reflectivity", 0))))
    return rows


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("rows", [1, 4])
@pytest.mark.parametrize("big", [False, True])
@pytest.mark.parametrize("layout", LAYOUTS)
def test_cloud_of_any_layout__is_read_as_point_by_point(
    tmp_path: Path, layout: str, big: bool, rows: int, form: Form
) -> None:
    table = points(24, np.dtype({**LAYOUTS[layout], "names": list(LAYOUTS[layout]["names"])}))
    seen: list[Any] = []
    cloud = send(tmp_path / "bag", form, seen.append, points=table, rows=rows, padding=5, big=big)
    expected = np.array(by_struct(seen[0]), dtype=np.float32)
    assert cloud.dropped == 0
    np.testing.assert_array_equal(cloud.points_m, expected[:, :3])
    assert (cloud.intensity is None) == (layout == "packed")
    if cloud.intensity is not None:
        np.testing.assert_array_equal(cloud.intensity, expected[:, 3])
        ring = table["line" if layout == "whole" else "ring"]
        np.testing.assert_array_equal(np.asarray(cloud.ring), ring)
    assert (cloud.header.time_us, cloud.header.frame) == (STAMP_US, "lidar")
    assert (cloud.after_s is None) == (layout != "pcl")


def test_points_without_a_position__are_dropped_and_counted(tmp_path: Path) -> None:
    table = points(8, POINT)
    table["x"][1], table["z"][2], table["y"][3] = np.nan, np.inf, 1e9
    table[["x", "y", "z"]][4] = (0, 0, 0)
    for axis in "xyz":
        table[axis][4] = 0
    table["x"][5] = 0  # a plane is not the origin
    cloud = send(tmp_path / "bag", points=table)
    assert cloud.dropped == 4
    kept = [0, 5, 6, 7]
    np.testing.assert_array_equal(np.asarray(cloud.intensity), table["intensity"][kept])
    np.testing.assert_array_equal(cloud.points_m[:, 1], table["y"][kept])


def test_empty_cloud__has_no_points(tmp_path: Path) -> None:
    cloud = send(tmp_path / "bag", points=points(0, POINT))
    assert (cloud.points_m.shape, cloud.dropped) == ((0, 3), 0)


def test_field_that_comes_twice__counts_once(tmp_path: Path) -> None:
    def change(message: Any) -> None:
        message.fields.append(message.fields[3])
        message.fields.insert(0, message.fields[0])

    table = points(5, POINT)
    np.testing.assert_array_equal(
        send(tmp_path / "bag", change=change, points=table).points_m[:, 0], table["x"]
    )


def _set(**values: Any) -> Any:
    def change(message: Any) -> None:
        for name, value in values.items():
            setattr(message, name, value)

    return change


def _set_field(**values: Any) -> Any:
    def change(message: Any) -> None:
        for name, value in values.items():
            setattr(message.fields[0], name, value)

    return change


@pytest.mark.parametrize(
    ("change", "error"),
    [
        (_set_field(name="east"), "no field x; its fields are: east, y, z, intensity"),
        (_set_field(datatype=9), "Field x has type 9; expected 1 to 8"),
        (_set_field(offset=13), "Field x at byte 13 is outside of a point of 16 bytes"),
        (_set_field(offset=2**32 - 1), "outside of a point"),
        (_set(width=2**32 - 1, height=2**32 - 1), "expected at most 10,000,000"),
        (_set(width=9), "9 x 1 points of 16 bytes, in rows of 144 bytes, has 128 bytes"),
        (_set(height=2, width=4, row_step=63), "in rows of 63 bytes"),
        (_set(height=2, width=4, row_step=2**32 - 1), "has 128 bytes"),
        (_set(point_step=0), "outside of a point of 0 bytes"),
        (_set(point_step=2**32 - 1), "expected at most 65,536"),
    ],
)
def test_impossible_cloud__is_refused(tmp_path: Path, change: Any, error: str) -> None:
    with pytest.raises(MessageError, match=error):
        send(tmp_path / "bag", change=change, points=points(8, POINT))


# When each of 100 points was measured, in the words of each driver
SWEEP_S = np.linspace(0, 0.0995, 100)
STAMP_S = STAMP_US / 1e6
DRIVERS: dict[str, tuple[str, np.ndarray]] = {
    "Ouster": ("t", (SWEEP_S * 1e9).astype("u4")),
    "Velodyne": ("time", (SWEEP_S - 0.1).astype("f4")),
    "Hesai": ("timestamp", STAMP_S + SWEEP_S),
    "RoboSense": ("timestamp", STAMP_S + SWEEP_S - 0.1),
    "Livox": ("timestamp", STAMP_US * 1e3 + SWEEP_S * 1e9),
    "Livox offset": ("offset_time", (SWEEP_S * 1e9).astype("u4")),
    "Autoware": ("time_stamp", (SWEEP_S * 1e9).astype("u4")),
    "microseconds": ("t", (SWEEP_S * 1e6).astype("u4")),
    "float milliseconds": ("time", (SWEEP_S * 1e3).astype("f4")),
    "float nanoseconds": ("t", (SWEEP_S * 1e9).astype("f4")),
    "absolute microseconds": ("timestamp", STAMP_US + SWEEP_S * 1e6),
}


@pytest.mark.parametrize("driver", DRIVERS)
def test_times_of_points__are_seconds_after_the_stamp(tmp_path: Path, driver: str) -> None:
    name, values = DRIVERS[driver]
    table = np.zeros(100, np.dtype([("x", "f4"), ("y", "f4"), ("z", "f4"), (name, values.dtype.str)]))
    table["x"], table[name] = 5, values
    cloud = send(tmp_path / "bag", points=table)
    expected = SWEEP_S - 0.1 if driver in ("Velodyne", "RoboSense") else SWEEP_S
    assert cloud.after_s is not None
    np.testing.assert_allclose(cloud.after_s, expected, atol=2e-6)
    assert cloud.clock_ahead_s == 0


@given(
    st.floats(0.02, 1.0),
    st.sampled_from(["ns", "s", "abs s", "abs ns"]),
    st.floats(-1.0, 0.0),
    st.integers(1_500_000_000, 2_000_000_000),
)
def test_times_of_any_sweep__keep_their_unit(sweep_s: float, unit: str, first: float, stamp_s: int) -> None:
    after_s = np.linspace(0, sweep_s, 50) + first * (unit != "ns") * sweep_s
    values = {
        "ns": (after_s * 1e9).astype("u4"),
        "s": after_s.astype("f4"),
        "abs s": stamp_s + after_s,
        "abs ns": stamp_s * 1e9 + after_s * 1e9,
    }[unit]
    found, ahead_s = seconds_after(values, stamp_s, 0)
    assert found is not None
    np.testing.assert_allclose(found, after_s, atol=1e-5)
    assert ahead_s == 0


def test_clock_of_the_points_that_differs__is_told_and_taken_to_start_at_the_stamp() -> None:
    found, ahead_s = seconds_after(STAMP_S + 37 + SWEEP_S, 1_700_000_000, 250_000_000)
    assert found is not None
    assert ahead_s == pytest.approx(37.05, abs=0.01)
    np.testing.assert_allclose(found, SWEEP_S, atol=1e-6)


@pytest.mark.parametrize(
    "values",
    [
        (STAMP_S + SWEEP_S).astype("f4"),
        np.where(np.arange(100) == 3, np.nan, SWEEP_S),
        np.linspace(0, 5e9, 100).astype("f8"),
        np.linspace(0, 2**32 - 1, 100).astype("u4"),
    ],
    ids=["too coarse", "NaN", "five seconds", "four seconds"],
)
def test_times_that_cannot_be_used__count_as_unknown(values: np.ndarray) -> None:
    assert seconds_after(values, 1_700_000_000, 0) == (None, 0.0)


def test_cloud_without_points__has_no_times() -> None:
    found, _ = seconds_after(np.zeros(0, "f4"), 1, 0)
    assert found is not None
    assert found.shape == (0,)


POINTS = np.dtype(
    [
        ("offset_time", "u4"),
        *((axis, "f4") for axis in "xyz"),
        *((n, "u1") for n in ("reflectivity", "tag", "line")),
    ]
)
LIVOX_TEXT = (
    "std_msgs/Header header\nuint64 timebase\nuint32 point_num\n"
    "uint8 lidar_id\nuint8[3] rsvd\nCustomPoint[] points\n"
)
POINT_TEXT = (
    "uint32 offset_time\nfloat32 x\nfloat32 y\nfloat32 z\nuint8 reflectivity\nuint8 tag\nuint8 line\n"
)


def write_livox(
    path: Path, form: Form, frame: str, count: int, package: str, fields: str = LIVOX_TEXT
) -> BagFile:
    """A bag with one CustomMsg."""
    kind = f"{package}/msg/CustomMsg"
    with BagFile(path, form) as bag:
        bag.store.register(get_types_from_msg(POINT_TEXT, f"{package}/msg/CustomPoint"))
        bag.store.register(get_types_from_msg(fields, kind))
        table = points(count, POINTS)
        table["offset_time"] = np.arange(count) * 1_000_000
        made = [
            bag.make(f"{package}/msg/CustomPoint", **{name: row[name].item() for name in POINTS.names or ()})
            for row in table
        ]
        rest = {"timebase": 5, "point_num": count, "lidar_id": 1, "rsvd": np.zeros(3, np.uint8)}
        if fields != LIVOX_TEXT:
            rest = {}
        message = bag.make(kind, header=bag.header(STAMP_US, frame), points=made, **rest)
        bag.write("/livox/lidar", kind, STAMP_US, message)
    return bag


@pytest.mark.parametrize("package", ["livox_ros_driver", "livox_ros_driver2"])
@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("frame", ["", "l", "livox", "livox_frame", "livox_frame_of_the_roof"])
def test_livox__is_read_as_point_by_point(tmp_path: Path, form: Form, frame: str, package: str) -> None:
    bag = write_livox(tmp_path / "bag", form, frame, 30, package)
    with open_bag([bag.path]) as opened:
        (message,) = opened.messages(["/livox/lidar"])
        cloud, plain = read_cloud(message), message.decode().points
    assert cloud.points_m.tolist() == [[one.x, one.y, one.z] for one in plain]
    np.testing.assert_array_equal(np.asarray(cloud.intensity), [one.reflectivity for one in plain])
    np.testing.assert_array_equal(np.asarray(cloud.ring), [one.line for one in plain])
    np.testing.assert_allclose(np.asarray(cloud.after_s), [one.offset_time * 1e-9 for one in plain])
    assert (cloud.header.frame, cloud.header.time_us) == (frame, STAMP_US)


def test_livox_that_is_cut_off_or_defined_in_another_way__is_refused(tmp_path: Path) -> None:
    bag = write_livox(tmp_path / "bag", "mcap", "livox", 30, "livox_ros_driver2")
    with open_bag([bag.path]) as opened:
        (message,) = opened.messages(["/livox/lidar"])
        for length in (20, 40, len(message.data) - 30):
            with pytest.raises(MessageError, match=r"cut off|only|header cannot"):
                read_cloud(replace(message, data=message.data[:length]))
    other = write_livox(
        tmp_path / "other",
        "mcap",
        "l",
        3,
        "livox_ros_driver2",
        "std_msgs/Header header\nCustomPoint[] points\n",
    )
    with open_bag([other.path]) as opened:
        (message,) = opened.messages(["/livox/lidar"])
        with pytest.raises(MessageError, match="other fields"):
            read_cloud(message)
