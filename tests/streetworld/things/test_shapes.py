import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from streetworld.things.clutter import CLUTTER
from streetworld.things.cycles import GAITS, person_mesh
from streetworld.things.materials import Material
from streetworld.things.shapes import Mesh, box, cylinder, ellipsoid, join, place, unit_sphere
from streetworld.things.vehicles import VEHICLES, draw_kind


def area(mesh: Mesh) -> float:
    a, b, c = (mesh.vertices[mesh.faces[:, i]] for i in range(3))
    return float(np.linalg.norm(np.cross(b - a, c - a), axis=1).sum() / 2)


def test_areas_of_solids() -> None:
    assert area(box((1, 2, 3), (2, 3, 4), Material.WOOD)) == pytest.approx(52)
    assert area(ellipsoid((0, 0, 0), (1, 1, 1), Material.LEAF, detail=3)) == pytest.approx(
        4 * np.pi, rel=0.01
    )
    tube = cylinder((0, 0, 0), 0.5, 2.0, Material.METAL, sides=64)
    assert area(tube) == pytest.approx(2 * np.pi * 0.5 * 2 + 2 * np.pi * 0.25, rel=0.01)


def test_the_sphere_is_closed_and_round() -> None:
    points, faces = unit_sphere(2)
    assert len(faces) == 320
    assert len(points) == 162
    np.testing.assert_allclose(np.linalg.norm(points, axis=1), 1)
    edges = np.sort(faces[:, [0, 1, 1, 2, 2, 0]].reshape(-1, 2), axis=1)
    assert (np.unique(edges, axis=0, return_counts=True)[1] == 2).all()


@given(st.floats(-3, 3), st.floats(0.5, 2), st.floats(0.5, 2))
def test_placing_moves_points_and_keeps_normals_upright(yaw: float, length: float, height: float) -> None:
    mesh = place(
        box((0, 0, 0.5), (2, 1, 1), Material.WOOD), (3, 4, 5), yaw_rad=yaw, scale=(length, 1, height)
    )
    low, high = mesh.bounds
    assert low[2] == pytest.approx(5, abs=1e-5)
    assert high[2] == pytest.approx(5 + height, rel=1e-5)
    np.testing.assert_allclose(np.linalg.norm(mesh.normals, axis=1), 1, atol=1e-5)
    a, b, c = (mesh.vertices[mesh.faces[:, i]] for i in range(3))
    across = np.cross(b - a, c - a)
    cosine = (across * mesh.normals[mesh.faces[:, 0]]).sum(1) / np.linalg.norm(across, axis=1)
    np.testing.assert_allclose(cosine, 1, atol=1e-4)


def test_joining_keeps_objects_apart() -> None:
    boxes = [place(box((0, 0, 0), (1, 1, 1), Material.WOOD), (i, 0, 0), object_id=i) for i in range(3)]
    both = join(boxes)
    assert both.faces.max() == len(both.vertices) - 1
    for i in range(3):
        middle = both.vertices[both.faces[both.object_id == i]].mean(axis=(0, 1))
        np.testing.assert_allclose(middle, (i, 0, 0), atol=1e-6)


@pytest.mark.parametrize("name", VEHICLES)
def test_vehicles_stand_on_the_ground_and_have_a_vehicles_size(name: str) -> None:
    low, high = VEHICLES[name].make().bounds
    length, width, height = high - low
    assert -0.01 < low[2] < 0.12
    assert 1.6 < length < 12.5
    assert 0.5 < width < 3
    assert 0.9 < height < 4
    assert length > width
    assert abs(low[1] + high[1]) < 0.3


@pytest.mark.parametrize("name", CLUTTER)
def test_clutter_stands_on_the_ground_and_is_no_vehicle(name: str) -> None:
    kind = CLUTTER[name]
    low, high = kind.make().bounds
    assert -0.01 < low[2] < 0.1
    assert (high - low < (7, 3, 3)).all()
    assert kind.category is None or not kind.category.startswith("vehicle.")


def test_much_clutter_has_the_size_of_a_vehicle() -> None:
    lengths = {name: np.ptp(kind.make().vertices[:, :2], axis=0).max() for name, kind in CLUTTER.items()}
    assert sum(length > 2.5 for length in lengths.values()) >= 8


def test_walking_people_move_their_legs() -> None:
    feet = [person_mesh(gait).vertices[:, 0].max() for gait in range(GAITS)]
    assert max(feet) - min(feet) > 0.1
    assert np.ptp(person_mesh(GAITS).vertices[:, 2]) == pytest.approx(1.73, abs=0.05)


def test_every_kind_of_vehicle_is_met_somewhere() -> None:
    rng = np.random.default_rng(0)
    driving = {draw_kind(rng, driving=True) for _ in range(2000)}
    parked = {draw_kind(rng, driving=False, longest_m=9.0) for _ in range(2000)}
    assert driving | parked == set(VEHICLES)


def test_kinds_are_drawn_by_what_they_do() -> None:
    rng = np.random.default_rng(0)
    driving = {draw_kind(rng, driving=True) for _ in range(400)}
    parked = {draw_kind(rng, driving=False, longest_m=6.0) for _ in range(400)}
    assert {"sedan", "bus", "bicycle", "box_truck"} <= driving
    assert not {"caravan", "parked_bicycle"} & driving
    assert not {"bus", "box_truck", "motorcycle"} & parked


@pytest.mark.parametrize("name", ["box", "person", *VEHICLES])
def test_welded__same_triangles_of_fewer_vertices(name: str) -> None:
    others = {"box": box((1, 2, 3), (2, 3, 4), Material.WOOD), "person": person_mesh(0)}
    mesh = others[name] if name in others else VEHICLES[name].make()
    first, faces = mesh.welded
    assert np.array_equal(mesh.vertices[first][faces], mesh.vertices[mesh.faces])
    assert len(np.unique(mesh.vertices, axis=0)) == len(first) < len(mesh.vertices)
