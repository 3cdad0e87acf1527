"""The ground of a scene: roads, junctions, kerbs, sidewalks, verges, medians and what lies behind them.

Strips carry (along, across, 0) in `local`, so that markings are drawn exactly; across is positive to the
left.
"""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Float

from streetworld.things.materials import Material
from streetworld.things.objects import ObjectList
from streetworld.things.shapes import Mesh, make_mesh, place
from streetworld.things.texture_parameters import RoadParameters
from streetworld.town.curves import Curve
from streetworld.town.network import KERBSTONE_M, Junction, Network, Road, corner_sides

KERB_M = 0.15
"""Height of the sidewalks above the road."""


def road_mesh(network: Network, road: Road, objects: ObjectList) -> list[Mesh]:
    """Build a road's surface, with its median and both sides."""
    profile, town = road.profile, network.town
    number = objects.add(
        "road",
        parameters=RoadParameters(
            lanes_left=float(profile.lanes[0]),
            lanes_right=float(profile.lanes[1]),
            lane_m=profile.lane_m,
            median_m=profile.median_m,
            parking_left_m=profile.parking_m[0],
            parking_right_m=profile.parking_m[1],
            length_m=road.curve.length_m,
            marks_start=_end_marks(network, road, 0),
            marks_end=_end_marks(network, road, 1),
            along_side=float(network.along_side),
            yellow_lines=float(town.yellow_lines),
        ),
        seed=road.index,
    )
    left, right = profile.kerb_m(1), profile.kerb_m(-1)
    meshes = [place(strip(road.curve, -right, left, 0.0, Material.ROAD), (0, 0, 0), object_id=number)]
    if profile.planted:
        meshes += _median(road, objects)
    land = objects.add("terrain", seed=road.index)
    for side in (1, -1):
        verge, walk = profile.verge_m[side < 0], profile.sidewalk_m[side < 0]
        meshes += _side(road.kerb(side), side, verge, walk, land)
    return meshes


def _end_marks(network: Network, road: Road, end: int) -> float:
    """Return what is painted at an end of a road: 1 a stop line, 2 a crossing, 3 both."""
    return float(network.junctions[road.ends[end]].signals) + 2.0 * road.crossings[end]


def junction_mesh(network: Network, junction: Junction, objects: ObjectList) -> list[Mesh]:
    """Build a junction's surface and its corners."""
    outline = junction.outline
    points = np.insert(np.concatenate((outline, outline.mean(axis=0, keepdims=True))), 2, 0.0, axis=1)
    count = len(outline)
    faces = np.array([[count, i, (i + 1) % count] for i in range(count)], dtype=np.int32)
    number = objects.add("road", seed=1000 + junction.index)
    meshes = [place(make_mesh(points, faces, Material.ASPHALT), (0, 0, 0), object_id=number)]
    land = objects.add("terrain", seed=1000 + junction.index)
    for corner in junction.corners:
        verge, walk = corner_sides(network, junction, corner)
        meshes += _side(corner.curve, -1, verge, walk, land)
    return meshes


def block_mesh(triangles: Float[np.ndarray, "T 3 2"], paved: bool, objects: ObjectList) -> Mesh:
    """Build the land of a block, a little below the sidewalks that lie on its border."""
    points = np.insert(triangles.reshape(-1, 2), 2, KERB_M - 0.03, axis=1)
    faces = np.arange(len(points)).reshape(-1, 3)
    mesh = make_mesh(points, faces, Material.PAVING if paved else Material.GRASS, smooth=True)
    return place(mesh, (0, 0, 0), object_id=objects.add("terrain"))


def plain_mesh(size_m: tuple[float, float], objects: ObjectList) -> Mesh:
    """Build the open country below and around everything, out to the horizon."""
    x, y = size_m
    far = 1200.0
    points = np.array([(-far, -far), (x + far, -far), (x + far, y + far), (-far, y + far)])
    points = np.insert(points, 2, -0.06, axis=1)
    mesh = make_mesh(points, [[0, 1, 2], [0, 2, 3]], Material.GRASS, local=points)
    return place(mesh, (0, 0, 0), object_id=objects.add("terrain"))


def strip(
    curve: Curve,
    low_m: Float[np.ndarray, " P"] | float,
    high_m: Float[np.ndarray, " P"] | float,
    height_m: float,
    material: Material,
) -> Mesh:
    """Build a flat strip along a curve, between two offsets to its left."""
    count = len(curve.points)
    edges = [np.insert(curve.offset(edge).points, 2, height_m, axis=1) for edge in (low_m, high_m)]
    drawn = [
        np.stack((curve.arc_m, np.broadcast_to(edge, count), np.zeros(count)), axis=-1)
        for edge in (low_m, high_m)
    ]
    return make_mesh(
        np.concatenate(edges), _strip_faces(count), material, local=np.concatenate(drawn), smooth=True
    )


def quad(corners: Sequence[Float[np.ndarray, "2"]], height_m: float, material: Material) -> Mesh:
    """Build a flat quadrilateral; `local` has its first corner at the origin and its first edge along x."""
    points = np.insert(np.array(corners), 2, height_m, axis=1)
    length, width = (float(np.hypot(*(corners[i] - corners[0]))) for i in (1, 3))
    drawn = np.array([(0, 0, 0), (length, 0, 0), (length, width, 0), (0, width, 0)])
    return make_mesh(points, [[0, 1, 2], [0, 2, 3]], material, local=drawn)


def _side(
    kerb: Curve,
    side: int,
    verge_m: Float[np.ndarray, " P"] | float,
    walk_m: Float[np.ndarray, " P"] | float,
    number: int,
) -> list[Mesh]:
    """Build the kerb, verge and sidewalk beside a kerb line whose outside lies on `side`."""
    stone = KERBSTONE_M
    inner = stone + np.asarray(verge_m)
    outer = inner + np.asarray(walk_m)
    borders: list[
        tuple[Material, Float[np.ndarray, " P"] | float, Float[np.ndarray, " P"] | float, float]
    ] = [
        (Material.KERB, 0.0, stone, KERB_M),
        (Material.GRASS, stone, inner, KERB_M - 0.02),
        (Material.SIDEWALK, inner, outer, KERB_M),
    ]
    meshes = [_kerb_face(kerb)]
    for material, near, far, height in borders:
        if np.max(np.asarray(far) - np.asarray(near)) > 0.02:
            low, high = (side * np.asarray(near), side * np.asarray(far))
            meshes.append(strip(kerb, np.minimum(low, high), np.maximum(low, high), height, material))
    return [place(mesh, (0, 0, 0), object_id=number) for mesh in meshes]


def _kerb_face(kerb: Curve) -> Mesh:
    """Build the vertical face of a kerb."""
    count = len(kerb.points)
    points = np.concatenate([np.insert(kerb.points, 2, height, axis=1) for height in (0.0, KERB_M)])
    arc = np.tile(kerb.arc_m, 2)
    drawn = np.stack((arc, np.repeat((0.0, KERB_M), count), np.zeros(2 * count)), axis=-1)
    return make_mesh(points, _strip_faces(count), Material.KERB, local=drawn, smooth=True)


def _median(road: Road, objects: ObjectList) -> list[Mesh]:
    """Build the planted median of a road, with its kerbs."""
    half, middle = road.profile.median_edge_m, road.median_curve
    number = objects.add("terrain", seed=road.index)
    meshes = [strip(middle, 0.18 - half, half - 0.18, KERB_M, Material.MEDIAN)]
    for side in (1, -1):
        low, high = sorted((side * half, side * (half - 0.18)))
        meshes.append(strip(middle, low, high, KERB_M, Material.KERB))
        meshes.append(_kerb_face(middle.offset(side * half)))
    return [place(mesh, (0, 0, 0), object_id=number) for mesh in meshes]


def _strip_faces(count: int) -> np.ndarray:
    """Return the triangles between two lines of points."""
    near = np.arange(count - 1)
    return np.concatenate(
        [np.stack((near, near + 1, near + 1 + count), 1), np.stack((near, near + 1 + count, near + count), 1)]
    ).astype(np.int32)
