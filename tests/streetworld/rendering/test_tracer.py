import numpy as np
import pytest

from streetworld.rendering.tracer import FAR_M, Stage, Tracer
from streetworld.things.materials import Material
from streetworld.things.shapes import Mesh, box, ellipsoid, join, place


def nearest_by_hand(mesh: Mesh, origin: np.ndarray, direction: np.ndarray) -> tuple[float, int]:
    """Every triangle in turn (Moeller and Trumbore 1997)."""
    best, face = np.inf, -1
    for number, (a, b, c) in enumerate(mesh.vertices[mesh.faces].astype(float)):
        across = np.cross(direction, c - a)
        scale = (b - a) @ across
        if abs(scale) < 1e-12:
            continue
        u = (origin - a) @ across / scale
        turned = np.cross(origin - a, b - a)
        v = direction @ turned / scale
        distance = (c - a) @ turned / scale
        if u >= 0 and v >= 0 and u + v <= 1 and 1e-6 < distance < best:
            best, face = distance, number
    return best, face


@pytest.fixture(scope="module")
def things() -> Mesh:
    parts = [
        place(ellipsoid((0, 0, 1), (1, 1, 1), Material.LEAF), (5, 0, 0), object_id=0),
        place(box((0, 0, 1), (2, 2, 2), Material.WOOD), (8, 3, 0), yaw_rad=0.5, object_id=1),
        place(box((0, 0, -0.1), (60, 60, 0.1), Material.GRASS), (0, 0, 0), object_id=2),
    ]
    return join(parts)


def random_rays(count: int) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    directions = rng.normal((1, 0.2, -0.1), 0.4, (count, 3))
    directions /= np.linalg.norm(directions, axis=1, keepdims=True)
    return np.tile(np.float32([[0, 0, 1.5]]), (count, 1)), directions.astype(np.float32)


def test_rays_meet_what_testing_every_triangle_finds(things: Mesh) -> None:
    origins, directions = random_rays(60)
    hits = Tracer(things).hit(origins, directions)
    blocked = Tracer(things).blocked(origins, directions)
    for i in range(60):
        distance, face = nearest_by_hand(things, origins[i].astype(float), directions[i].astype(float))
        assert (hits.face[i] >= 0) == (face >= 0) == blocked[i]
        assert hits.distance_m[i] == pytest.approx(distance if face >= 0 else FAR_M, rel=1e-4)


def test_surfaces_lie_on_the_ray_and_face_it(things: Mesh) -> None:
    origins, directions = random_rays(200)
    tracer = Tracer(things)
    hits = tracer.hit(origins, directions)
    rows = np.flatnonzero(hits.face >= 0).astype(np.int32)
    surface = tracer.surface(hits, rows, origins, directions)
    assert ((surface.normal * directions[rows].T).sum(axis=0) <= 1e-6).all()
    np.testing.assert_allclose(np.linalg.norm(surface.normal, axis=0), 1, atol=1e-5)
    on_sphere = surface.object_id == 0
    center = np.float32([[5], [0], [1]])
    radius = np.linalg.norm(surface.position[:, on_sphere] - center, axis=0)
    assert (radius > 0.7).all()
    assert (radius < 1.001).all()
    np.testing.assert_allclose(surface.position[2, surface.object_id == 2], -0.05, atol=1e-4)


def test_what_moves_hides_what_stands_and_the_other_way_round(things: Mesh) -> None:
    near, far = (
        place(box((0, 0, 1), (1, 1, 1), Material.PAINT), (x, 0, 0), object_id=9) for x in (2.5, 15.0)
    )
    direction, origin = np.float32([[1, 0, -0.02]]), np.float32([0, 0, 1])
    direction /= np.linalg.norm(direction)
    for mover, x, seen in ((near, 2.5, 9), (far, 15.0, 0)):
        stage = Stage(Tracer(things), Tracer(mover), np.array([[x, 0, 1, 1.0]]))
        hits, moves = stage.hit(origin, direction)
        rows, surface = stage.surface(hits, moves, np.broadcast_to(origin, direction.shape), direction)
        assert rows.tolist() == [0]
        assert surface.object_id.tolist() == [seen]


def test_leaving_rays_away_from_movers_out_changes_nothing(things: Mesh) -> None:
    mover = place(box((0, 0, 1), (1, 1, 1), Material.PAINT), (4, 2, 0), object_id=9)
    _, directions = random_rays(500)
    origin = np.float32([0, 0, 1.5])
    exact = Stage(Tracer(things), Tracer(mover), np.array([[4, 2, 1, 100.0]])).hit(origin, directions)
    quick = Stage(Tracer(things), Tracer(mover), np.array([[4, 2, 1, 0.9]])).hit(origin, directions)
    np.testing.assert_array_equal(exact[0].distance_m, quick[0].distance_m)
    np.testing.assert_array_equal(exact[1], quick[1])
    assert exact[1].any()


def test_one_origin__stands_for_all_rays(things: Mesh) -> None:
    origins, directions = random_rays(200)
    stage = Stage(Tracer(things), None, np.zeros((0, 4)))
    hits, moves = stage.hit(origins[0], directions)
    rows, surface = stage.surface(hits, moves, origins[:1], directions)
    same_rows, same = stage.surface(hits, moves, origins, directions)
    np.testing.assert_array_equal(rows, same_rows)
    np.testing.assert_array_equal(surface.position, same.position)


def test_surface__mixes_the_corners_of_its_triangle(things: Mesh) -> None:
    origins, directions = random_rays(200)
    tracer = Tracer(things)
    hits = tracer.hit(origins, directions)
    rows = np.flatnonzero(hits.face >= 0)
    surface = tracer.surface(hits, rows, origins, directions)
    corners = things.faces[hits.face[rows]]
    u, v = hits.u[rows, None], hits.v[rows, None]
    local = [things.local[corners[:, i]] for i in range(3)]
    mixed = local[0] * (1 - u - v) + local[1] * u + local[2] * v
    np.testing.assert_allclose(surface.local.T, mixed, atol=1e-5)


def test_hit__welded_triangles_give_the_same_bytes(things: Mesh) -> None:
    first, faces = things.welded
    plain, welded = Tracer(things), Tracer(things, (things.vertices[first], faces))
    origins, directions = random_rays(5000)
    ours, theirs = welded.hit(origins, directions), plain.hit(origins, directions)
    assert (ours.face >= 0).any()
    for name in ("distance_m", "face", "u", "v"):
        assert getattr(ours, name).tobytes() == getattr(theirs, name).tobytes()
