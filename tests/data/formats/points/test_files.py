"""LiDAR files: plain floats of four or five, PCD of all kinds, NumPy arrays, and what is wrong with them."""

import io
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from occfeat.data.formats.points import files, pcd
from occfeat.data.formats.points.files import check_points_file, read_npy, read_points_file
from occfeat.data.formats.points.floats import MAX_BYTES, check_floats, read_floats
from occfeat.data.formats.points.lzf import decompress
from occfeat.data.formats.points.pcd import read_pcd
from occfeat.errors import KeyFrameError
from tests.support.point_files import compress, decompress_plainly, read_pcd_plainly, write_pcd

RANDOM = np.random.default_rng(0)
POINTS = np.column_stack(
    (RANDOM.normal(0, 30, (80, 3)), RANDOM.uniform(0, 255, 80), RANDOM.integers(-1, 64, 80))
).astype("<f4")
ENCODINGS = ("ascii", "binary", "binary_compressed")
PLAIN = np.dtype([("x", "<f4"), ("y", "<f4"), ("z", "<f4"), ("intensity", "<f4")])
MIXED = np.dtype(
    [("ring", "<u2"), ("z", "<i2"), ("normal", "<f4", (3,)), ("x", "<f4"), ("time", "<u8"), ("y", "u1")]
)
WIDE = np.dtype([("y", "<f8"), ("x", "<i8"), ("_", "u1"), ("z", "<f4")])


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("lidar") / "a.pcd.bin"


def cloud(dtype: np.dtype, count: int = 60) -> np.ndarray:
    """Return random points of any fields."""
    points = np.zeros(count, dtype)
    for name in dtype.names:
        base, shape = dtype[name].base, points[name].shape
        numbers = RANDOM.normal(0, 30, shape)
        points[name] = np.clip(numbers, 0, 255) if base.kind == "u" else numbers
    return points


@pytest.mark.parametrize("width", [4, 5])
def test_floats__of_either_width(path: Path, width: int) -> None:
    """The file of 80 returns fits both widths."""
    POINTS[:, :width].tofile(path)
    np.testing.assert_array_equal(read_floats(path).points, POINTS[:, :width])
    np.testing.assert_array_equal(read_floats(path, (width,)).points, POINTS[:, :width])


def test_floats__whole_rings_allow_any_intensity(path: Path) -> None:
    returns = POINTS.copy()
    returns[:, 3] -= 300
    returns.tofile(path)
    np.testing.assert_array_equal(read_floats(path).points, returns)


def test_floats__times_in_place_of_rings(path: Path) -> None:
    returns = POINTS[:79].copy()
    returns[:, 4] = np.linspace(0, 0.1, 79)
    returns.tofile(path)
    np.testing.assert_array_equal(read_floats(path).points, returns)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        (
            np.column_stack((POINTS, POINTS[:, 0])),
            "implausible with 5 or 4 numbers",
        ),  # six numbers per return
        (POINTS * 1e6, "implausible"),
        (np.full((20, 5), 0.5), "values that are plausible with 5 or 4"),
    ],
)
def test_floats__that_fit_neither_or_both_are_refused(path: Path, values: np.ndarray, message: str) -> None:
    values.astype("<f4").tofile(path)
    with pytest.raises(KeyFrameError, match=message) as caught:
        read_floats(path)
    assert "intensity and ring" in caught.value.hint


@pytest.mark.parametrize("content", [b"", b"\0" * 17, b"\0" * 21, b"\0" * 38])
def test_floats__wrong_size(path: Path, content: bytes) -> None:
    path.write_bytes(content)
    with pytest.raises(KeyFrameError, match=r"a\.pcd\.bin"):
        read_floats(path)
    with pytest.raises(KeyFrameError):
        check_points_file(path, len(content))


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("column", [0, 3, 4])
def test_floats__not_finite(path: Path, value: float, column: int) -> None:
    """A return without a position is left out and counted; an intensity or ring may be unknown."""
    values = POINTS.copy()
    values[50, column] = value
    values.tofile(path)
    sweep = read_floats(path)
    assert sweep.left_out == (column == 0)
    assert sweep.ring_column == 4
    np.testing.assert_array_equal(sweep.points, np.delete(values, [50], axis=0) if column == 0 else values)


def test_floats__most_not_finite_is_refused(path: Path) -> None:
    values = POINTS.copy()
    values[:40, 1] = np.nan
    values.tofile(path)
    assert len(read_floats(path).points) == 40
    values[:41, 1] = np.nan
    values.tofile(path)
    with pytest.raises(KeyFrameError, match=r"not finite \(51\.2% of all\)"):
        read_floats(path)
    np.full((20, 5), np.nan, "<f4").tofile(path)
    with pytest.raises(KeyFrameError, match=r"not finite \(100\.0% of all\)"):
        read_floats(path)


@pytest.mark.parametrize("width", [3, 4, 5])
@pytest.mark.parametrize("count", [79, 80])
def test_floats__of_eight_bytes_are_called_that(path: Path, width: int, count: int) -> None:
    POINTS[:count, :width].astype("<f8").tofile(path)
    if count * width * 8 % 20 and count * width * 8 % 16:
        pytest.skip("the size tells already that it is no such file")
    with pytest.raises(KeyFrameError, match="eight bytes; expected float32"):
        read_floats(path)


def test_floats__rings_are_whole_numbers(path: Path) -> None:
    """A time in the fifth column numbers no beams."""
    assert read_points_file(saved(path, POINTS)).ring_column == 4
    assert read_points_file(saved(path, POINTS[:, :4])).ring_column is None
    timed = POINTS[:79].copy()
    timed[:, 4] = np.linspace(0, 0.1, 79)
    assert read_points_file(saved(path, timed)).ring_column is None


def saved(path: Path, returns: np.ndarray) -> Path:
    returns.tofile(path)
    return path


@pytest.mark.parametrize("name", ["a.pcd.bin", "a.bin", "a.pcd", "a.npy"])
def test_files__missing_or_folders(tmp_path: Path, name: str) -> None:
    with pytest.raises(KeyFrameError, match="is missing"):
        read_points_file(tmp_path / name)
    (tmp_path / name).mkdir()
    with pytest.raises(KeyFrameError):
        read_points_file(tmp_path / name)


def test_files__unknown_ending(tmp_path: Path) -> None:
    (tmp_path / "a.las").write_bytes(b"LASF")
    for attempt in (lambda path: read_points_file(path), lambda path: check_points_file(path, 100)):
        with pytest.raises(KeyFrameError, match="unknown ending"):
            attempt(tmp_path / "a.las")


def test_check__absurd_sizes() -> None:
    check_floats(Path("a"), MAX_BYTES)
    with pytest.raises(KeyFrameError, match="at most"):
        check_floats(Path("a"), MAX_BYTES + 20)
    check_points_file(Path("a.pcd"), 17)
    for size in (0, MAX_BYTES + 1):
        with pytest.raises(KeyFrameError, match=r"a\.npy"):
            check_points_file(Path("a.npy"), size)


@settings(deadline=None, max_examples=100)
@given(content=st.binary(max_size=200))
def test_floats__any_bytes(path: Path, content: bytes) -> None:
    path.write_bytes(content)
    try:
        returns = read_floats(path).points
    except KeyFrameError:
        return
    assert returns.nbytes == len(content)
    assert np.isfinite(returns).all()


@pytest.mark.parametrize("encoding", ENCODINGS)
@pytest.mark.parametrize("dtype", [PLAIN, MIXED, WIDE])
def test_pcd__equals_a_plain_reader(tmp_path: Path, encoding: str, dtype: np.dtype) -> None:
    points = cloud(dtype)
    content = write_pcd(points, encoding)
    (tmp_path / "a.pcd").write_bytes(content)
    read = read_points_file(tmp_path / "a.pcd").points
    assert read.dtype == (np.float64 if dtype is WIDE else np.float32)
    np.testing.assert_array_equal(read[:, :3], np.array(read_pcd_plainly(content), dtype=read.dtype))
    np.testing.assert_array_equal(read[:, 0], points["x"].astype(read.dtype))
    column = read_points_file(tmp_path / "a.pcd").ring_column
    assert column == (3 if dtype is MIXED else None)
    if column is not None:
        np.testing.assert_array_equal(read[:, column], points["ring"])


@pytest.mark.parametrize("encoding", ENCODINGS)
def test_pcd__rings_that_are_not_one_number_are_unknown(tmp_path: Path, encoding: str) -> None:
    several = np.dtype([*PLAIN.descr, ("ring", "<u2", (2,))])
    twice = np.dtype([*PLAIN.descr, ("ring", "<u2"), ("RING", "<u2")])
    for dtype in (several, twice):
        (tmp_path / "a.pcd").write_bytes(write_pcd(cloud(dtype), encoding))
        read = read_points_file(tmp_path / "a.pcd")
        assert read.points.shape == (60, 3)
        assert read.ring_column is None


@pytest.mark.parametrize("encoding", ENCODINGS)
def test_pcd__organised_clouds_lose_what_has_no_return(tmp_path: Path, encoding: str) -> None:
    points = cloud(PLAIN)
    points["y"][::3] = np.nan
    points["x"][1], points["intensity"][2] = np.inf, np.nan
    (tmp_path / "a.pcd").write_bytes(write_pcd(points, encoding, height=4))
    kept = np.isfinite(points["x"]) & np.isfinite(points["y"])
    np.testing.assert_array_equal(read_pcd(tmp_path / "a.pcd")[:, 2], points["z"][kept])
    points["z"] = np.nan
    (tmp_path / "a.pcd").write_bytes(write_pcd(points, encoding))
    with pytest.raises(KeyFrameError, match="no returns with a finite position"):
        read_pcd(tmp_path / "a.pcd")


@pytest.mark.parametrize("encoding", ENCODINGS)
def test_pcd__without_points(tmp_path: Path, encoding: str) -> None:
    (tmp_path / "a.pcd").write_bytes(write_pcd(cloud(PLAIN, 0), encoding))
    with pytest.raises(KeyFrameError, match="no returns with a finite position"):
        read_pcd(tmp_path / "a.pcd")


SOUND = write_pcd(cloud(PLAIN), "binary")


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        (b"DATA binary", b"DATA parquet", "expected DATA ascii, binary"),
        (b"DATA binary", b"NOTE", "no DATA line"),
        (b"FIELDS x", b"FIELDS u", "expected one field x"),
        (b"FIELDS x y", b"FIELDS x x", "expected one field x"),
        (b"FIELDS x y", b"FIELDS x", "of equal lengths"),
        (b"TYPE F", b"TYPE Q", "unknown type Q of 4 bytes"),
        (b"SIZE 4", b"SIZE 3", "unknown type F of 3 bytes"),
        (b"COUNT 1", b"COUNT 2", "with one number"),
        (b"COUNT 1", b"COUNT -1", "expected a whole number"),
        (b"POINTS 60", b"POINTS 61", "expected 60 x 1 points, got 61"),
        (b"WIDTH 60\nHEIGHT 1", b"WIDTH 61\nHEIGHT 1", "expected 61 x 1 points, got 60"),
        (b"WIDTH 60", b"WIDTH 99999999999", "expected a whole number"),
        (b"WIDTH 60\nHEIGHT 1\nVIEWPOINT 0 0 0 1 0 0 0\nPOINTS 60", b"POINTS 9999999", "100,000,000 bytes"),
        (b"WIDTH 60\nHEIGHT 1\nVIEWPOINT 0 0 0 1 0 0 0\nPOINTS 60", b"POINTS 61", "expected 976 bytes after"),
    ],
)
def test_pcd__damaged_headers(tmp_path: Path, old: bytes, new: bytes, message: str) -> None:
    assert old in SOUND
    (tmp_path / "a.pcd").write_bytes(SOUND.replace(old, new))
    with pytest.raises(KeyFrameError, match=message):
        read_pcd(tmp_path / "a.pcd")


@pytest.mark.parametrize("encoding", ENCODINGS)
def test_pcd__cut_off_anywhere(tmp_path: Path, encoding: str) -> None:
    content = write_pcd(cloud(PLAIN, 12), encoding)
    needed = content.rindex(b"\n") if encoding == "ascii" else len(content)
    for end in range(0, needed - 90, 7):  # the last numbers are not coordinates
        (tmp_path / "a.pcd").write_bytes(content[:end])
        with pytest.raises(KeyFrameError, match="not a readable PCD file"):
            read_pcd(tmp_path / "a.pcd")


def test_pcd__text_that_is_not_numbers(tmp_path: Path) -> None:
    content = write_pcd(cloud(PLAIN, 3), "ascii")
    for text in (b"a b c d\n" * 3, b"1 2\n" * 3, b"\xff\xfe 1 2 3\n" * 3, b"\n" * 30):
        (tmp_path / "a.pcd").write_bytes(content[: content.index(b"DATA ascii\n") + 11] + text)
        with pytest.raises(KeyFrameError, match="not a readable PCD file"):
            read_pcd(tmp_path / "a.pcd")


@settings(deadline=None, max_examples=200)
@given(content=st.one_of(st.binary(max_size=400), st.lists(st.sampled_from(b"ab"), max_size=900).map(bytes)))
def test_lzf__equals_a_plain_decoder(content: bytes) -> None:
    packed = compress(content)
    assert decompress_plainly(packed) == content
    assert decompress(packed, len(content)) == content
    assert decompress(packed, len(content) // 2) == content[: len(content) // 2]


@settings(deadline=None, max_examples=200)
@given(data=st.binary(max_size=60), size=st.integers(0, 5000))
def test_lzf__any_bytes(data: bytes, size: int) -> None:
    try:
        content = decompress(data, size)
    except ValueError:
        return
    assert len(content) == size


@pytest.mark.parametrize("dtype", [PLAIN, MIXED, WIDE])
def test_npy__structured(tmp_path: Path, dtype: np.dtype) -> None:
    points = cloud(dtype)
    np.save(tmp_path / "a.npy", points)
    read = read_points_file(tmp_path / "a.npy").points
    assert read.dtype == (np.float64 if dtype is WIDE else np.float32)
    for column, name in enumerate("xyz"):
        np.testing.assert_array_equal(read[:, column], points[name].astype(read.dtype))


@pytest.mark.parametrize("dtype", ["<f4", "<f8", "<f2", ">f4", "<i4"])
def test_npy__plain(tmp_path: Path, dtype: str) -> None:
    points = np.asfortranarray(POINTS.astype(dtype))
    np.save(tmp_path / "a.npy", points)
    read = read_npy(tmp_path / "a.npy")
    assert read.dtype == (np.float64 if dtype == "<f8" else np.float32)
    np.testing.assert_array_equal(read, points.astype(read.dtype))


def test_npy__points_that_are_not_finite_are_left_out(tmp_path: Path) -> None:
    points = POINTS.copy()
    points[3, 1], points[5, 2], points[7, 4] = np.nan, np.inf, np.nan
    np.save(tmp_path / "a.npy", points)
    np.testing.assert_array_equal(read_npy(tmp_path / "a.npy"), np.delete(points, (3, 5), axis=0))


@pytest.mark.parametrize("points", [POINTS[:0], np.full_like(POINTS, np.nan)])
def test_npy__without_finite_points_is_refused(tmp_path: Path, points: np.ndarray) -> None:
    np.save(tmp_path / "a.npy", points)
    with pytest.raises(KeyFrameError, match="no returns with a finite position"):
        read_npy(tmp_path / "a.npy")


def test_files__endings_in_capitals(tmp_path: Path) -> None:
    (tmp_path / "a.BIN").write_bytes(POINTS.astype("<f4").tobytes())
    check_points_file(tmp_path / "a.BIN", POINTS.size * 4)
    assert read_points_file(tmp_path / "a.BIN").points.shape == POINTS.shape


@pytest.mark.parametrize(
    "array",
    [
        np.zeros(3),
        np.zeros((4, 2)),
        np.zeros((2, 3, 3)),
        np.zeros((3, 2000)),
        np.array([{"x": 1}], dtype=object),
        np.zeros((4, 3), dtype=complex),
        np.zeros((4, 3), dtype="U3"),
        np.zeros(4, dtype=[("x", "f4"), ("y", "f4")]),
        np.zeros(4, dtype=[("x", "U1"), ("y", "f4"), ("z", "f4")]),
    ],
)
def test_npy__other_arrays(tmp_path: Path, array: np.ndarray) -> None:
    np.save(tmp_path / "a.npy", array, allow_pickle=True)
    with pytest.raises(KeyFrameError, match="not a readable"):
        read_npy(tmp_path / "a.npy")


def test_npy__archives_and_damage(tmp_path: Path) -> None:
    archive, plain = io.BytesIO(), io.BytesIO()
    np.savez(archive, POINTS)
    np.save(plain, POINTS)
    damaged = [archive.getvalue(), b"", b"\x93NUMPY", plain.getvalue()[:200]]
    damaged += [
        plain.getvalue().replace(b"(80, 5)", b"(8**9, 5)"),
        plain.getvalue().replace(b"(80", b"(99999999"),
    ]
    for content in damaged:
        (tmp_path / "a.npy").write_bytes(content)
        with pytest.raises(KeyFrameError):
            read_npy(tmp_path / "a.npy")


@pytest.mark.parametrize("reader", [read_pcd, read_npy])
def test_files__too_large(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, reader: Any) -> None:
    for module in (files, pcd):
        monkeypatch.setattr(module, "MAX_BYTES", 100)
    (tmp_path / "a").write_bytes(b"\0" * 101)
    with pytest.raises(KeyFrameError, match="at most 100 bytes, got 101"):
        reader(tmp_path / "a")
