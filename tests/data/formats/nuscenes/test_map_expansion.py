"""Layers of a map expansion: which cells they cover, and files that are damaged."""

import json
import math
from collections.abc import Callable
from itertools import count
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import shapely
from hypothesis import given
from hypothesis import strategies as st

from occfeat.data.formats.nuscenes.map_expansion import read_expansion
from occfeat.data.maps.masks import AREAS, ShapeMap
from occfeat.errors import DatasetError
from tests.support.map_files import crossroads, make_expansion, rectangle, write_expansion

ONE = np.eye(3)
SHAPE = (40, 30)
Document = dict[str, Any]


@pytest.fixture
def read(tmp_path: Path) -> Callable[..., ShapeMap]:
    number = count()

    def write_and_read(**layers: Any) -> ShapeMap:
        return read_expansion(write_expansion(tmp_path, make_expansion(**layers), f"town-{next(number)}"))

    return write_and_read


def of_areas(*areas: shapely.Polygon) -> ShapeMap:
    return ShapeMap({"walkway": shapely.STRtree(areas)})


def affine(turn_rad: float, x: float, y: float, mirror: bool = False) -> np.ndarray:
    """Turn about the middle of the grid, mirror left to right, then move."""
    cos, sin = math.cos(turn_rad), math.sin(turn_rad)
    turn = np.array([[cos, -sin, 0], [sin, cos, 0], [0, 0, 1]])
    middle = np.array([[1, 0, 20], [0, 1, 20], [0, 0, 1]])
    flip = np.diag((1.0, -1.0 if mirror else 1.0, 1.0))
    move = np.array([[1, 0, x], [0, 1, y], [0, 0, 1]])
    result: np.ndarray = move @ middle @ flip @ turn @ np.linalg.inv(middle)
    return result


def test_draw__area_with_a_hole(read: Callable[..., ShapeMap]) -> None:
    """Corners are rounded to cells, both borders are filled; the border of the hole is not."""
    expansion = read(walkway=[[rectangle(4.4, 10, 20, 12), rectangle(10, 13, 8, 4)]])
    mask = expansion.draw("walkway", ONE, SHAPE)
    expected = np.zeros(SHAPE, dtype=bool)
    expected[4:25, 10:23] = True
    expected[10:19, 13:18] = False
    np.testing.assert_array_equal(mask, expected)
    assert not expansion.draw("ped_crossing", ONE, SHAPE).any()


def test_draw__hole_of_a_later_area_empties_what_lies_below(read: Callable[..., ShapeMap]) -> None:
    below, above = [rectangle(10, 10, 10, 10)], [rectangle(5, 5, 20, 20), rectangle(12, 12, 4, 4)]
    assert read(drivable_area=[below, above]).draw("drivable_area", ONE, SHAPE)[13, 13] == 0
    assert read(drivable_area=[above, below]).draw("drivable_area", ONE, SHAPE)[13, 13] == 1


def test_draw__lines_of_both_kinds(read: Callable[..., ShapeMap]) -> None:
    expansion = read(road_divider=[[[(5.9, 10.9), (30.9, 10.9)]]], lane_divider=[[[(20, 2), (20, 8)]]])
    mask = expansion.draw("divider", ONE, SHAPE)
    assert mask[5:31, 10].all()  # drawn from the cells that hold the nodes
    assert mask[20, 2:9].all()
    assert mask[15].sum() == mask[:, 5].sum() == 3  # what cv2 makes of thickness 2 along the axes
    assert mask.sum() < 3 * (28 + 9)


def test_draw__line_that_comes_back_is_not_closed(read: Callable[..., ShapeMap]) -> None:
    """A line that leaves the grid and enters it again is two lines."""
    mask = read(lane_divider=[[[(-5, 5), (10, 5), (10, 60), (25, 60), (25, -5)]]]).draw("divider", ONE, SHAPE)
    assert mask[:11, 5].all()
    assert mask[10, 5:].all()
    assert mask[25].all()
    assert not mask[14:22].any()


@pytest.mark.parametrize("far", [60.0, 1e4, 1e8])
def test_draw__what_lies_outside_leaves_no_trace(read: Callable[..., ShapeMap], far: float) -> None:
    expansion = read(
        walkway=[[rectangle(far, far, 5, 5)], [rectangle(-far, 3, 5, 5)]],
        lane_divider=[[[(far, far), (far + 9, far)]]],
    )
    assert not expansion.draw("walkway", ONE, SHAPE).any()
    assert not expansion.draw("divider", ONE, SHAPE).any()


def test_draw__area_beyond_all_borders_fills_everything(read: Callable[..., ShapeMap]) -> None:
    assert read(walkway=[[rectangle(-1e8, -1e8, 2e8, 2e8)]]).draw("walkway", ONE, SHAPE).all()


def test_draw__area_that_shares_a_border_with_the_grid(read: Callable[..., ShapeMap]) -> None:
    mask = read(walkway=[[rectangle(40, 0, 10, 10)], [rectangle(0, 0, 2, 2)]]).draw("walkway", ONE, SHAPE)
    assert mask.sum() == 9


blobs = st.builds(
    lambda x, y, radii: shapely.Polygon(
        [
            (x + r * math.cos(i * math.tau / len(radii)), y + r * math.sin(i * math.tau / len(radii)))
            for i, r in enumerate(radii)
        ]
    ),
    st.floats(14, 26),
    st.floats(14, 26),
    st.lists(st.floats(2, 9), min_size=3, max_size=9),
)
whole = st.builds(
    lambda x, y, length, width: shapely.Polygon(rectangle(x, y, length, width)),
    *(st.integers(6, 20), st.integers(6, 20), st.integers(1, 12), st.integers(1, 12)),
)


@given(blobs, st.floats(-4, 4), st.booleans())
def test_draw__agrees_with_geometry_away_from_borders(
    blob: shapely.Polygon, turn: float, mirror: bool
) -> None:
    """A cell whose centre lies inside is covered; only near the border rounding may decide otherwise."""
    cells_from_global = affine(turn, 0, 0, mirror)
    mask = of_areas(blob).draw("walkway", cells_from_global, (40, 40))
    moved = shapely.transform(blob, lambda xy: xy @ cells_from_global[:2, :2].T + cells_from_global[:2, 2])
    x, y = np.meshgrid(np.arange(40) + 0.5, np.arange(40) + 0.5, indexing="ij")
    inside = shapely.contains_xy(moved, x, y)
    to_border = shapely.distance(shapely.points(x, y), moved.exterior)
    clear = to_border > 1.5  # half a cell for rounding a corner, one for the border that is filled too
    np.testing.assert_array_equal(mask[clear], inside[clear])


@given(st.lists(whole, min_size=1, max_size=3), st.integers(1, 3))
def test_draw__quarter_turns_turn_the_mask(areas: list[shapely.Polygon], quarters: int) -> None:
    """Areas on whole cells: the corner k of the grid goes to the corner 40 - k, no more and no less."""
    expansion = of_areas(*areas)
    before = expansion.draw("walkway", ONE, (41, 41))
    after = expansion.draw("walkway", affine(quarters * math.pi / 2, 0, 0), (41, 41))
    np.testing.assert_array_equal(after, np.rot90(before, -quarters, axes=(1, 0)))


@given(st.lists(whole, min_size=1, max_size=3))
def test_draw__mirroring_mirrors_the_mask(areas: list[shapely.Polygon]) -> None:
    expansion = of_areas(*areas)
    before = expansion.draw("walkway", ONE, (41, 41))
    np.testing.assert_array_equal(
        expansion.draw("walkway", affine(0, 0, 0, mirror=True), (41, 41)), before[:, ::-1]
    )


@given(st.lists(blobs, min_size=1, max_size=3), st.integers(-4, 4), st.integers(-4, 4))
def test_draw__whole_cells_shift_the_mask(areas: list[shapely.Polygon], x: int, y: int) -> None:
    # no corner on a half, which is rounded to the even cell, and none that loses digits when it is moved
    areas = [shapely.transform(area, lambda xy: np.round(xy * 1024) / 1024 + 1 / 2048) for area in areas]
    expansion = of_areas(*areas)
    before = expansion.draw("walkway", ONE, (40, 40))
    after = expansion.draw("walkway", affine(0, x, y), (40, 40))
    np.testing.assert_array_equal(after, np.roll(before, (x, y), axis=(0, 1)))


def test_read__is_done_once(tmp_path: Path) -> None:
    path = write_expansion(tmp_path, crossroads(0, 0))
    first = read_expansion(path)
    path.unlink()
    assert read_expansion(path) is first
    assert {name: len(tree) for name, tree in first.layers.items()} == {
        **dict.fromkeys(AREAS, 1),
        "drivable_area": 2,
        "walkway": 2,
        "divider": 2,
    }


def test_read__areas_that_cross_themselves(read: Callable[..., ShapeMap]) -> None:
    """As in the devkit they are left out; drivable ones are repaired."""
    bow_tie = [[(5, 5), (25, 25), (25, 5), (5, 25)]]
    expansion = read(walkway=[bow_tie], drivable_area=[bow_tie])
    assert not expansion.draw("walkway", ONE, SHAPE).any()
    drivable = expansion.draw("drivable_area", ONE, SHAPE)
    assert drivable[7, 15]
    assert drivable[22, 15]
    assert not drivable[15, 7]


def test_read__shapes_of_too_few_nodes(read: Callable[..., ShapeMap]) -> None:
    good = rectangle(5, 5, 20, 20)
    shapes = [[[]], [good[:2], good], [good, [], good[:1]], [[good[0], good[1], good[0]]]]
    expansion = read(walkway=shapes, lane_divider=[[[]], [[(1, 1)]]])
    assert expansion.draw("walkway", ONE, SHAPE).sum() == 21 * 21
    assert not expansion.draw("divider", ONE, SHAPE).any()


def refused(tmp_path: Path, document: object) -> str:
    path = write_expansion(tmp_path, document)
    with pytest.raises(DatasetError) as caught:
        read_expansion(path)
    assert str(path) in caught.value.message
    return str(caught.value)


@pytest.mark.parametrize("share", [0.0, 0.5, 0.99])
def test_read__cut_short(tmp_path: Path, share: float) -> None:
    path = write_expansion(tmp_path, crossroads(0, 0))
    whole = path.read_bytes()
    path.write_bytes(whole[: int(share * len(whole))])
    with pytest.raises(DatasetError, match=r"not valid JSON near byte.*\n.*Extract"):
        read_expansion(path)


@pytest.mark.parametrize("version", ["1.0", "1.2", "1.4", 1.3, None])
def test_read__other_version(tmp_path: Path, version: object) -> None:
    document = crossroads(0, 0) | {"version": version}
    if version is None:
        del document["version"]
    assert "has version" in refused(tmp_path, document)


@pytest.mark.parametrize("layer", ["node", "polygon", "line", "walkway", "lane_divider", "drivable_area"])
@pytest.mark.parametrize("content", [None, {}, [1], [{}], [{"token": 3}]])
def test_read__layers_that_are_none(tmp_path: Path, layer: str, content: object) -> None:
    document = crossroads(0, 0) | {layer: content}
    if content is None:
        del document[layer]
    assert layer in refused(tmp_path, document)


@pytest.mark.parametrize(
    ("layer", "field", "value"),
    [
        ("node", "x", None),
        ("node", "x", "1"),
        ("node", "y", True),
        ("node", "y", 1e300),
        ("node", "y", -1e10),
        ("polygon", "exterior_node_tokens", ["node 0", "node 1", "nowhere"]),
        ("polygon", "exterior_node_tokens", ["node 0", "node 1", ["node 2"]]),
        ("polygon", "exterior_node_tokens", "node 0"),
        ("polygon", "holes", [{"node_tokens": ["a", "b", "c"]}]),
        ("polygon", "holes", [3]),
        ("polygon", "holes", None),
        ("line", "node_tokens", ["node 0", 7]),
        ("walkway", "polygon_token", "nowhere"),
        ("drivable_area", "polygon_tokens", [3]),
        ("drivable_area", "polygon_tokens", [["drivable_area 0"]]),
        ("road_divider", "line_token", "nowhere"),
    ],
)
def test_read__impossible_records(tmp_path: Path, layer: str, field: str, value: object) -> None:
    document = crossroads(0, 0)
    document[layer][0][field] = value
    refused(tmp_path, document)


@pytest.mark.parametrize("content", ["[]", "3", '"text"', '{"version": "1.3", "node": [{"x": NaN}]}'])
def test_read__no_named_layers(tmp_path: Path, content: str) -> None:
    path = write_expansion(tmp_path, {})
    path.write_text(content)
    with pytest.raises(DatasetError):
        read_expansion(path)


def test_read__a_folder(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match="cannot be read"):
        read_expansion(tmp_path)


def test_files_of_these_tests_are_expansions(tmp_path: Path) -> None:
    document = json.loads(write_expansion(tmp_path, crossroads(3, 4)).read_text())
    assert all(document[layer] for layer in ("node", "polygon", "line", *AREAS))
