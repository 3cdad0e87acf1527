"""Map layers of a real Argoverse 2 log against av2-api, which runs in an environment of its own."""

import os
import subprocess
from pathlib import Path

import numpy as np
import pytest
import shapely
from PIL import Image, ImageDraw

from occfeat.data.formats.argoverse2.map_file import read_map_file

pytestmark = [pytest.mark.parity, pytest.mark.data]


@pytest.fixture(scope="module")
def folder() -> Path:
    given = os.environ.get("OCCFEAT_TEST_ARGOVERSE2", "")
    maps = sorted(Path(given).glob("**/log_map_archive_*.json")) if given else []
    if not maps:
        pytest.skip("set OCCFEAT_TEST_ARGOVERSE2 to a folder with the Argoverse 2 sensor set or a part of it")
    return maps[0].parent


@pytest.fixture(scope="module")
def theirs(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, np.ndarray]:
    python = os.environ.get("OCCFEAT_AV2_PYTHON", "")
    if not Path(python).is_file():
        pytest.skip("set OCCFEAT_AV2_PYTHON to an interpreter that has av2 0.3.6")
    script, out = (
        Path(__file__).with_name("argoverse_maps_av2.py"),
        tmp_path_factory.mktemp("av2") / "maps.npz",
    )
    subprocess.run([python, "-W", "ignore", script, folder, out], check=True)
    with np.load(out, allow_pickle=False) as masks:
        return dict(masks)


def test_drivable_area__is_av2_apis_raster_but_for_its_border(
    folder: Path, theirs: dict[str, np.ndarray]
) -> None:
    """Both round corners to cells. Filled by Pillow, as in av2-api, our areas give its raster exactly.

    This project fills by cv2, the rule of published labels. Then 0.3 % of the cells differ, all beside an
    edge.
    """
    expected, scale, offset_m = theirs["drivable"], float(theirs["scale"]), theirs["offset_m"]
    cells = np.diag((scale, scale, 1.0))
    cells[:2, 2] = scale * offset_m
    town = read_map_file(next(folder.glob("log_map_archive_*.json")))
    ours = town.draw("drivable_area", cells, expected.shape[::-1]).T
    canvas = Image.new("L", expected.shape[::-1])
    for area in town.layers["drivable_area"].geometries:
        corners = np.round(scale * (shapely.get_coordinates(area)[:-1] + offset_m)).astype(int)
        ImageDraw.Draw(canvas).polygon([tuple(corner) for corner in corners.tolist()], outline=1, fill=1)
    np.testing.assert_array_equal(np.array(canvas, dtype=bool), expected)
    differing = np.argwhere(ours != expected)[:, ::-1]
    edges = [
        shapely.transform(area.exterior, lambda points: np.round(scale * (points + offset_m)))
        for area in town.layers["drivable_area"].geometries
    ]
    distance = shapely.distance(shapely.points(differing), shapely.union_all(edges))
    assert expected.sum() > 100_000
    assert len(differing) < 0.004 * expected.sum()
    assert distance.max() < 1.5  # cells


def test_crossings_and_dividers__are_av2_apis(folder: Path, theirs: dict[str, np.ndarray]) -> None:
    town = read_map_file(next(folder.glob("log_map_archive_*.json")))
    crossings = np.split(theirs["crossings"], np.cumsum(theirs["crossing_points"])[:-1])
    ours = [shapely.get_coordinates(one) for one in town.layers["ped_crossing"].geometries]
    assert len(ours) == len(crossings) > 0
    for one, other in zip(ours, crossings, strict=True):
        np.testing.assert_array_equal(one, other)
    dividers = np.split(theirs["dividers"], np.cumsum(theirs["divider_points"])[:-1])
    lines = {shapely.get_coordinates(one).tobytes() for one in town.layers["divider"].geometries}
    assert lines == {np.ascontiguousarray(one).tobytes() for one in dividers}
    assert len(lines) > 10
