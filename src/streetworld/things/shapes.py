"""Triangle meshes and the simple solids that everything in the world is made of.

Axes: `V` vertices, `F` faces, `P` points of a profile. Templates are made in their own frame: x forward, y
left, z up, standing on z = 0. Flat faces do not share vertices, round ones do, so that every vertex has one
normal.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cache, cached_property

import numpy as np
from jaxtyping import Float, Float32, Int, Int32, UInt8

from streetworld.things.materials import Material

Real = int | float
Point = tuple[Real, Real, Real]


@dataclass(frozen=True, eq=False)
class Mesh:
    """Triangles, each with a material and the number of the object it belongs to."""

    vertices: Float32[np.ndarray, "V 3"]
    normals: Float32[np.ndarray, "V 3"]
    """Unit vectors; which of the two sides they point to does not matter."""
    local: Float32[np.ndarray, "V 3"]
    """Coordinates that textures are drawn in: the template's own, or (along, across, 0) for the ground."""
    faces: Int32[np.ndarray, "F 3"]
    material: UInt8[np.ndarray, " F"]
    object_id: Int32[np.ndarray, " F"]

    @cached_property
    def welded(self) -> tuple[Int[np.ndarray, " W"], Int32[np.ndarray, "F 3"]]:
        """One vertex of each place, and the faces as numbers of these places: rays need no normals."""
        _, first, place_of = np.unique(self.vertices, axis=0, return_index=True, return_inverse=True)
        return first, place_of.reshape(-1)[self.faces].astype(np.int32)

    @property
    def bounds(self) -> tuple[Float32[np.ndarray, "3"], Float32[np.ndarray, "3"]]:
        """Smallest and largest coordinates."""
        return self.vertices.min(axis=0), self.vertices.max(axis=0)


def make_mesh(
    vertices: Float[np.ndarray, "V 3"],
    faces: Sequence[Sequence[int]] | Int[np.ndarray, "F 3"],
    material: Material,
    *,
    local: Float[np.ndarray, "V 3"] | None = None,
    smooth: bool = False,
) -> Mesh:
    """Build a mesh of one material; unless `smooth`, faces are split so that each is flat."""
    points = np.asarray(vertices, dtype=np.float32)
    corners = np.asarray(faces, dtype=np.int32)
    drawn = points if local is None else np.asarray(local, dtype=np.float32)
    if not smooth:
        points, drawn = points[corners.ravel()], drawn[corners.ravel()]
        corners = np.arange(len(points), dtype=np.int32).reshape(-1, 3)
    a, b, c = (points[corners[:, i]] for i in range(3))
    (ax, ay, az), (bx, by, bz) = (b - a).T, (c - a).T
    across = np.stack((ay * bz - az * by, az * bx - ax * bz, ax * by - ay * bx), axis=-1)
    if smooth:
        index = corners.T.ravel()
        sums = [np.bincount(index, np.tile(column, 3), len(points)) for column in across.T]
        normals = np.stack(sums, axis=-1).astype(np.float32)
    else:
        normals = np.repeat(across, 3, axis=0)
    normals /= np.maximum(np.sqrt((normals * normals).sum(axis=1, keepdims=True)), 1e-12)
    kinds = np.full(len(corners), material, dtype=np.uint8)
    return Mesh(points, normals, drawn, corners, kinds, np.zeros(len(corners), dtype=np.int32))


def join(meshes: Sequence[Mesh]) -> Mesh:
    """Join several meshes to one."""
    starts = np.cumsum([0] + [len(mesh.vertices) for mesh in meshes[:-1]])
    return Mesh(
        np.concatenate([mesh.vertices for mesh in meshes]),
        np.concatenate([mesh.normals for mesh in meshes]),
        np.concatenate([mesh.local for mesh in meshes]),
        np.concatenate(
            [mesh.faces + start for mesh, start in zip(meshes, starts, strict=True)], dtype=np.int32
        ),
        np.concatenate([mesh.material for mesh in meshes]),
        np.concatenate([mesh.object_id for mesh in meshes]),
    )


def place(
    mesh: Mesh,
    position: Sequence[Real],
    *,
    yaw_rad: Real = 0.0,
    scale: Sequence[Real] = (1.0, 1.0, 1.0),
    object_id: int | None = None,
) -> Mesh:
    """Scale a template, turn it about z and move it, as a numbered object; `local` stays."""
    cosine, sine = np.cos(yaw_rad), np.sin(yaw_rad)
    turn = np.array([[cosine, sine, 0], [-sine, cosine, 0], [0, 0, 1]], dtype=np.float32)
    factor = np.asarray(scale, dtype=np.float32)
    vertices = (mesh.vertices * factor) @ turn + np.asarray(position, dtype=np.float32)
    normals = mesh.normals
    if not (factor == factor[0]).all():
        normals = normals / factor
        normals /= np.maximum(np.linalg.norm(normals, axis=1, keepdims=True), 1e-12)
    ids = mesh.object_id if object_id is None else np.full(len(mesh.faces), object_id, dtype=np.int32)
    return replace(mesh, vertices=vertices, normals=normals @ turn, object_id=ids)


def tilt(mesh: Mesh, pitch_rad: Real, pivot: Point = (0, 0, 0)) -> Mesh:
    """Turn a template about the y axis through `pivot`, forward down; `local` stays."""
    cosine, sine = np.cos(pitch_rad), np.sin(pitch_rad)
    turn = np.array([[cosine, 0, -sine], [0, 1, 0], [sine, 0, cosine]], dtype=np.float32)
    middle = np.asarray(pivot, dtype=np.float32)
    return replace(mesh, vertices=(mesh.vertices - middle) @ turn + middle, normals=mesh.normals @ turn)


_BOX_FACES = np.array(
    [[0, 1, 3], [0, 3, 2], [4, 6, 7], [4, 7, 5], [0, 4, 5], [0, 5, 1],
     [2, 3, 7], [2, 7, 6], [0, 2, 6], [0, 6, 4], [1, 5, 7], [1, 7, 3]], dtype=np.int32,
)  # fmt: skip


def box(center: Point, size: Point, material: Material) -> Mesh:
    """Build a box with edges along the axes; `size` along x, y and z."""
    corners = np.array([[x, y, z] for x in (-0.5, 0.5) for y in (-0.5, 0.5) for z in (-0.5, 0.5)])
    return make_mesh(corners * size + center, _BOX_FACES, material)


def prism(outline: Sequence[tuple[Real, Real]], half_width_m: Real, material: Material) -> Mesh:
    """Extrude a convex side profile of (x, z) points to both sides along y."""
    profile = np.asarray(outline, dtype=float)
    count = len(profile)
    sides = [np.insert(profile, 1, y, axis=1) for y in (half_width_m, -half_width_m)]
    faces = [[i, (i + 1) % count, count + (i + 1) % count] for i in range(count)]
    faces += [[i, count + (i + 1) % count, count + i] for i in range(count)]
    for start in (0, count):
        faces += [[start, start + i, start + i + 1] for i in range(1, count - 1)]
    return make_mesh(np.concatenate(sides), faces, material)


def cylinder(
    foot: Point,
    radius_m: Real,
    length_m: Real,
    material: Material,
    *,
    axis: str = "z",
    top_radius_m: Real | None = None,
    sides: int = 10,
) -> Mesh:
    """Build a cylinder or cone from `foot` along an axis: a smooth side and two flat ends."""
    angle = np.arange(sides) * 2 * np.pi / sides
    ring = np.stack((np.cos(angle), np.sin(angle)), axis=-1)
    top = radius_m if top_radius_m is None else top_radius_m
    rings = np.concatenate([np.insert(ring * r, 2, z, axis=1) for r, z in ((radius_m, 0.0), (top, length_m))])
    after = (np.arange(sides) + 1) % sides
    number = np.arange(sides)
    side = np.concatenate(
        [np.stack((number, after, sides + after), 1), np.stack((number, sides + after, sides + number), 1)]
    )
    fan = np.array([[0, i, i + 1] for i in range(1, sides - 1)])
    order = {"z": (0, 1, 2), "y": (0, 2, 1), "x": (2, 0, 1)}[axis]
    points = rings[:, order] + np.asarray(foot)
    ends = np.concatenate((fan, fan + sides))
    return join([make_mesh(points, side, material, smooth=True), make_mesh(points, ends, material)])


def disc(center: Point, radius_m: Real, material: Material, *, sides: int = 10) -> Mesh:
    """Build a flat disc across the y axis."""
    angle = np.arange(sides) * 2 * np.pi / sides
    ring = np.stack((np.cos(angle), np.zeros(sides), np.sin(angle)), axis=-1)
    faces = np.array([[0, i, i + 1] for i in range(1, sides - 1)], dtype=np.int32)
    return make_mesh(ring * radius_m + np.asarray(center), faces, material)


def ellipsoid(center: Point, radii: Point, material: Material, *, detail: int = 1) -> Mesh:
    """Build a smooth ellipsoid of 20 * 4**detail faces."""
    points, faces = unit_sphere(detail)
    return make_mesh(points * radii + center, faces, material, smooth=True)


@cache
def unit_sphere(detail: int) -> tuple[Float[np.ndarray, "V 3"], Int32[np.ndarray, "F 3"]]:
    """Return an icosahedron split `detail` times and blown up to the unit sphere."""
    golden = (1 + 5**0.5) / 2
    points = [(0, i, j * golden) for i in (-1, 1) for j in (-1, 1)]
    vertices = np.array([np.roll(point, shift) for shift in range(3) for point in points], dtype=float)
    gaps = np.linalg.norm(vertices[:, None] - vertices[None], axis=-1)
    near = gaps < 2.1
    faces = np.array(
        [
            (a, b, c)
            for a in range(12)
            for b in range(a)
            for c in range(b)
            if near[a, b] and near[b, c] and near[a, c]
        ]
    )
    vertices /= np.linalg.norm(vertices, axis=1, keepdims=True)
    for _ in range(detail):
        edges = np.sort(faces[:, [0, 1, 1, 2, 2, 0]].reshape(-1, 2), axis=1)
        unique, inverse = np.unique(edges, axis=0, return_inverse=True)
        middle = vertices[unique].mean(axis=1)
        middle /= np.linalg.norm(middle, axis=1, keepdims=True)
        ab, bc, ca = (inverse.reshape(-1, 3) + len(vertices)).T
        a, b, c = faces.T
        vertices = np.concatenate((vertices, middle))
        faces = np.concatenate(
            [np.stack(corner, 1) for corner in ((a, ab, ca), (b, bc, ab), (c, ca, bc), (ab, bc, ca))]
        )
    return vertices, faces.astype(np.int32)


def loft(rings: Float[np.ndarray, "S P 3"], material: UInt8[np.ndarray, "S-1 P-1"]) -> Mesh:
    """Build a smooth skin over open rings of points; each patch between two rings has its own material.

    Patches of one material share their vertices; where materials meet there is a crease.
    """
    sections, count = rings.shape[:2]
    number = np.arange(sections * count).reshape(sections, count)
    a, b = number[:-1, :-1], number[:-1, 1:]
    c, d = number[1:, 1:], number[1:, :-1]
    first, second = np.stack((a, b, c), -1), np.stack((a, c, d), -1)
    points = rings.reshape(-1, 3)
    meshes = []
    for kind in np.unique(material):
        chosen = material == kind
        faces = np.concatenate((first[chosen], second[chosen])).astype(np.int32)
        used, compact = np.unique(faces, return_inverse=True)
        meshes.append(
            make_mesh(
                points[used],
                compact.reshape(-1, 3).astype(np.int32),
                Material(int(kind)),
                smooth=bool(kind == Material.PAINT),
            )
        )
    return join(meshes)
