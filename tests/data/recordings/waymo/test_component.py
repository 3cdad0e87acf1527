"""Components of Waymo: columns, frames in order of time, and what is wrong with a file."""

import contextlib
import multiprocessing
import os
import resource
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from occfeat.cli import main
from occfeat.data.recordings.waymo.component import TIME, Component
from occfeat.data.recordings.waymo.sensors import CAMERAS, channel
from occfeat.errors import DatasetError
from tests.support.recordings import waymo_segment
from tests.support.recordings.waymo_tables import CAMERA, ComponentWriter, write_component

NAMES = (CAMERA, "image", "pose_timestamp")


def image_row(time_us: int, camera: int) -> dict[str, object]:
    content = f"{time_us}-{camera}".encode()
    return {
        TIME: time_us,
        CAMERA: camera,
        "image": content,
        "pose.transform": [0.0] * 16,
        "pose_timestamp": 1.0,
    }


def write_images(folder: Path, groups: list[list[tuple[int, int]]]) -> Component:
    """Write images of (time, camera), a row group per list."""
    writer = ComponentWriter(folder, "camera_image", "seg")
    for group in groups:
        writer.write([image_row(*one) for one in group])
    writer.close()
    return Component(folder / "camera_image" / "seg.parquet", "camera_image")


def frames_of(component: Component, times_us: list[int]) -> list[tuple[int, list[bytes]]]:
    frames = component.frames(NAMES, CAMERA, np.array(times_us))
    return [(time_us, [row.one_binary("image") for row in rows]) for time_us, rows in frames]


@pytest.mark.parametrize(
    "groups",
    [
        [[(t, c) for t in (10, 20, 30) for c in (1, 2)]],
        [[(t, c) for c in (1, 2)] for t in (10, 20, 30)],
        [[(t, c) for t in (10, 20, 30)] for c in (1, 2)],  # camera after camera
    ],
    ids=["one group", "a group per frame", "a group per camera"],
)
def test_frames__come_in_order_of_time(groups: list[list[tuple[int, int]]], tmp_path: Path) -> None:
    found = frames_of(write_images(tmp_path, groups), [10, 30, 40])
    assert found == [(10, [b"10-1", b"10-2"]), (30, [b"30-1", b"30-2"])]


def test_rows_of_one_sensor_out_of_order__are_refused(tmp_path: Path) -> None:
    component = write_images(tmp_path, [[(20, 1), (10, 1)]])
    with pytest.raises(DatasetError, match="not in order of time"):
        frames_of(component, [10, 20])


def test_groups_without_wanted_frames__are_not_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    component = write_images(tmp_path, [[(t, 1)] for t in range(10)])
    asked = []
    original = pq.ParquetFile.iter_batches

    def watch(file, size, groups, *given, **named):
        asked.append(list(groups))
        return original(file, size, groups, *given, **named)

    monkeypatch.setattr(pq.ParquetFile, "iter_batches", watch)
    assert [time_us for time_us, _ in frames_of(component, [3, 7])] == [3, 7]
    assert asked[-1] == [3, 7]


def test_columns_of_another_component__are_named(tmp_path: Path) -> None:
    path = write_images(tmp_path, [[(1, 1)]]).path
    with pytest.raises(
        DatasetError, match=r"1 columns too few.\n  \[LiDARComponent\].range_image_return1.values"
    ):
        Component(path, "lidar").read(("range_image_return1.values",))


def test_rows_of_another_segment__are_refused(tmp_path: Path) -> None:
    path = write_images(tmp_path, [[(1, 1)]]).path
    other = path.rename(path.with_stem("other"))
    with pytest.raises(DatasetError, match=r"rows of other segments\.\n  seg\n"):
        Component(other, "camera_image")


@pytest.mark.parametrize("content", [b"", b"PAR1", b"nonsense" * 100])
def test_files_that_are_not_parquet__are_named(content: bytes, tmp_path: Path) -> None:
    path = tmp_path / "seg.parquet"
    path.write_bytes(content)
    with pytest.raises(DatasetError, match=r"seg.parquet cannot be read: .*\nHint: Download"):
        Component(path, "stats")
    with pytest.raises(DatasetError, match=r"absent\.parquet cannot be read"):
        Component(tmp_path / "absent.parquet", "stats")


def test_footer_that_claims_too_many_rows__is_refused_without_memory(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    root = waymo_segment.build_segment(tmp_path / "training")
    path = root / "vehicle_pose" / f"{waymo_segment.SEGMENT}.parquet"
    claim_rows(path, len(waymo_segment.POSES), 2**40)
    assert pq.ParquetFile(path).metadata.num_rows == 2**40
    before_mb = peak_mb()
    assert main(["import", str(root), "--out", str(tmp_path / "drive"), "--workers", "1"]) == 2
    said = capsys.readouterr().err
    assert f"{path}: expected up to 1,000,000 rows, got 1,099,511,627,776." in said
    assert "Download the file again." in said
    assert peak_mb() - before_mb < 100
    assert not (tmp_path / "drive").exists()


def claim_rows(path: Path, count: int, claimed: int) -> None:
    """Change the number of rows, in the whole and in its only row group, that the footer of a file states.

    The footer is a Thrift structure: 0x16 begins the next field but one of 64 bits, a zigzag varint follows.
    """
    content = path.read_bytes()
    length = int.from_bytes(content[-8:-4], "little")
    body, footer = content[: -8 - length], content[-8 - length : -8]
    field = b"\x16" + varint(2 * count)
    assert footer.count(field) >= 2
    footer = footer.replace(field, b"\x16" + varint(2 * claimed))
    path.write_bytes(body + footer + len(footer).to_bytes(4, "little") + b"PAR1")


def varint(number: int) -> bytes:
    groups = [number >> shift & 127 for shift in range(0, max(number.bit_length(), 1), 7)]
    return bytes([*(group | 128 for group in groups[:-1]), groups[-1]])


def peak_mb() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def test_types__are_checked(tmp_path: Path) -> None:
    table = pa.table(
        {
            "key.segment_context_name": ["seg", "seg"],
            TIME: pa.array([1, None]),
            "[StatsComponent].time_of_day": [1.5, 2.5],
            "[StatsComponent].weather": pa.array([[1.0], [2.0, 3.0]]),
        }
    )
    pq.write_table(table, tmp_path / "seg.parquet")
    rows = Component(tmp_path / "seg.parquet", "stats").read((TIME, "time_of_day", "weather"))
    for read, says in (
        (lambda: rows.integers(TIME), "is empty in 1 of 2 rows"),
        (lambda: rows.integers("time_of_day"), "expected whole numbers, got the type double"),
        (lambda: rows.texts("time_of_day"), "expected names, got the type double"),
        (lambda: rows.vectors("weather", 1), "expected lists of 1 numbers"),
        (lambda: rows.row(0).one_binary("weather"), "expected bytes"),
        (lambda: rows.row(0).one_list("time_of_day"), "expected lists of numbers"),
    ):
        with pytest.raises(DatasetError, match=says):
            read()
    assert rows.row(1).one_list("weather").tolist() == [2.0, 3.0]


def test_sensors__have_numbers_or_names() -> None:
    assert [channel("CAM", name, CAMERAS) for name in ("1", "5", "FRONT_LEFT")] == [
        "CAM_FRONT",
        "CAM_SIDE_RIGHT",
        "CAM_FRONT_LEFT",
    ]
    for odd in ("0", "6", "BACK", ""):
        with pytest.raises(DatasetError, match="Expected a sensor among 1 to 5 or FRONT"):
            channel("CAM", odd, CAMERAS)


@pytest.fixture
def real_folder() -> Path:
    """Folder of real parquet files of Waymo Open Dataset v2, named by the variable OCCFEAT_TEST_WAYMO."""
    root = os.environ.get("OCCFEAT_TEST_WAYMO")
    if not root:
        pytest.skip("set OCCFEAT_TEST_WAYMO to a folder with vehicle_pose.parquet and camera_hkp.parquet")
    return Path(root)


SEGMENT = "10023947602400723454_1120_000_1140_000"


def open_real(folder: Path, tag: str, tmp_path: Path) -> Component:
    """Open a real file under the name of its segment."""
    path = tmp_path / f"{SEGMENT}.parquet"
    path.symlink_to(folder / f"{tag}.parquet")
    return Component(path, tag)


def test_real_poses__are_read(real_folder: Path, tmp_path: Path) -> None:
    from occfeat.data.recordings.waymo.recording import _read_poses

    poses = list(_read_poses(open_real(real_folder, "vehicle_pose", tmp_path)).values())
    assert len(poses) == 199
    times_us = np.array([pose.time_us for pose in poses])
    assert np.abs(np.diff(times_us) - 100_000).max() < 1_000  # 10 Hz
    steps_m = np.linalg.norm(np.diff([pose.global_from_ego[:3, 3] for pose in poses], axis=0), axis=1)
    assert steps_m.max() < 3


def test_real_keys__are_read_frame_by_frame(real_folder: Path, tmp_path: Path) -> None:
    component = open_real(real_folder, "camera_hkp", tmp_path)
    times_us = np.unique(component.times_us())
    rows = [len(list(rows)) for _, rows in component.frames((CAMERA,), CAMERA, times_us[::5])]
    assert sum(rows) == np.isin(component.times_us(), times_us[::5]).sum()
    names = component.read((CAMERA,)).texts(CAMERA)
    assert {channel("CAM", name, CAMERAS) for name in names} <= {f"CAM_{name}" for name in CAMERAS}


def _read_with_each_byte(path: Path, first: int) -> None:
    """Read a component again and again, each time with another byte spoiled; end badly on another error."""
    whole = path.read_bytes()
    for at in range(first, len(whole)):
        path.write_bytes(whole[:at] + b"\x14" + whole[at + 1 :])
        with contextlib.suppress(DatasetError):
            Component(path, "stats").read((TIME, "time_of_day"))


def test_spoiled_metadata__end_no_process(tmp_path: Path) -> None:
    rows = [{TIME: 1, "time_of_day": "Day", "weather": "sunny"}] * 3
    path = write_component(tmp_path, "stats", "seg", rows)
    whole = path.read_bytes()
    first = len(whole) - 8 - int.from_bytes(whole[-8:-4], "little")  # where the footer begins
    process = multiprocessing.get_context("fork").Process(target=_read_with_each_byte, args=(path, first))
    process.start()
    process.join(120)
    assert process.exitcode == 0
