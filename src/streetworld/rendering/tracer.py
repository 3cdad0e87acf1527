"""Rays against meshes with Embree, and what is known where they hit.

Axes: `N` rays. One tracer holds what stands still in a scene, another what moves at one moment.
"""

import math
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float, Float32, Int, Int32, UInt8

from streetworld.things.shapes import Mesh

FAR_M = 3000.0
"""Rays that hit nothing report this distance."""


Triangles = tuple[Float32[np.ndarray, "V 3"], Int32[np.ndarray, "F 3"]]
"""Vertices, and the numbers of the three of each triangle."""


@dataclass(frozen=True)
class Hits:
    """What each ray meets first."""

    distance_m: Float32[np.ndarray, " N"]
    face: Int32[np.ndarray, " N"]
    """Number of the triangle, -1 for none."""
    u: Float32[np.ndarray, " N"]
    v: Float32[np.ndarray, " N"]
    """Barycentric coordinates of the triangle's second and third corner."""


@dataclass(frozen=True)
class Surface:
    """The surface at points that rays hit. Components come first, so that numpy works on long rows."""

    position: Float32[np.ndarray, "3 N"]
    normal: Float32[np.ndarray, "3 N"]
    """Unit normal, turned towards the ray's origin."""
    local: Float32[np.ndarray, "3 N"]
    direction: Float32[np.ndarray, "3 N"]
    """Of the ray."""
    material: UInt8[np.ndarray, " N"]
    object_id: Int32[np.ndarray, " N"]


class Tracer:
    """A mesh that rays can be cast at.

    Args:
        mesh: The mesh.
        welded: The same triangles in the same order, of fewer vertices. Embree's Python binding copies number
        by number. None: those of the mesh.
    """

    def __init__(self, mesh: Mesh, welded: Triangles | None = None) -> None:
        from embreex.mesh_construction import TriangleMesh
        from embreex.rtcore_scene import EmbreeScene

        self.mesh = mesh
        self._corners = mesh.faces.T.astype(np.intp, order="C")  # `take` converts and copies all else
        self._vertex_columns = np.ascontiguousarray(np.concatenate((mesh.normals, mesh.local), axis=1).T)
        self._scene: EmbreeScene = EmbreeScene()
        vertices, faces = (mesh.vertices, mesh.faces) if welded is None else welded
        TriangleMesh(self._scene, vertices.astype(np.float32), faces.astype(np.int32))

    def hit(self, origins: Float32[np.ndarray, "N 3"], directions: Float32[np.ndarray, "N 3"]) -> Hits:
        """Return the first triangle on every ray; directions are unit vectors."""
        if len(origins) == 0:
            none = np.zeros(0, dtype=np.float32)
            return Hits(none, none.astype(np.int32), none, none)
        found = self._scene.run(
            np.ascontiguousarray(origins, dtype=np.float32),
            np.ascontiguousarray(directions, dtype=np.float32),
            output=True,
        )
        face = np.asarray(found["primID"], dtype=np.int32)
        distance = np.where(face >= 0, found["tfar"], np.float32(FAR_M)).astype(np.float32)
        return Hits(distance, face, np.asarray(found["u"]), np.asarray(found["v"]))

    def by_material(self, hits: Hits, rows: Int[np.ndarray, " M"]) -> Int[np.ndarray, " M"]:
        """Return the rays in the order of the materials they hit."""
        return rows.take(np.argsort(self.mesh.material.take(hits.face.take(rows)), kind="stable"))

    def blocked(
        self, origins: Float32[np.ndarray, "N 3"], directions: Float32[np.ndarray, "N 3"]
    ) -> Bool[np.ndarray, " N"]:
        """Tell whether anything at all lies on every ray."""
        if len(origins) == 0:
            return np.zeros(0, dtype=bool)
        found = self._scene.run(
            np.ascontiguousarray(origins, dtype=np.float32),
            np.ascontiguousarray(directions, dtype=np.float32),
            query="OCCLUDED",
        )
        return np.asarray(found) != -1

    def surface(
        self,
        hits: Hits,
        rows: Int[np.ndarray, " M"],
        origins: Float32[np.ndarray, "O 3"],
        directions: Float32[np.ndarray, "N 3"],
    ) -> Surface:
        """Return the surface where the rays `rows` hit; all of them must. One origin stands for all rays."""
        mesh, face = self.mesh, hits.face.take(rows).astype(np.intp)
        direction = directions.take(rows, axis=0).T.copy()
        start = origins if len(origins) == 1 else origins.take(rows, axis=0)
        position = start.T + direction * hits.distance_m.take(rows)
        v, w = hits.u.take(rows), hits.v.take(rows)
        u = 1 - v - w
        a, b, c = (corner.take(face) for corner in self._corners)
        mixed = np.empty((6, len(rows)), dtype=np.float32)
        for column, values in zip(mixed, self._vertex_columns, strict=True):
            np.multiply(values.take(a), u, out=column)
            column += values.take(b) * v
            column += values.take(c) * w
        normal, local = mixed[:3], mixed[3:]
        scale = 1 / np.maximum(np.sqrt((normal * normal).sum(axis=0)), 1e-9)
        normal *= np.where((normal * direction).sum(axis=0) > 0, -scale, scale)
        return Surface(
            position, normal, local, direction, mesh.material.take(face), mesh.object_id.take(face)
        )


@dataclass(frozen=True)
class Stage:
    """A scene at one moment: what stands still and what moves."""

    still: Tracer
    moving: Tracer | None
    spheres: Float[np.ndarray, "M 4"]
    """Centre and radius of a ball around every moving object."""

    def hit(
        self, origin: Float32[np.ndarray, "3"], directions: Float32[np.ndarray, "N 3"]
    ) -> tuple[Hits, Bool[np.ndarray, " N"]]:
        """Return the first triangle on rays from one point, and whether it is of something that moves."""
        origins = np.broadcast_to(origin, directions.shape)
        return self.hit_from(
            np.ascontiguousarray(origins), directions, self._toward_movers(origin, directions)
        )

    def hit_from(
        self,
        origins: Float32[np.ndarray, "N 3"],
        directions: Float32[np.ndarray, "N 3"],
        candidates: Int[np.ndarray, " C"],
    ) -> tuple[Hits, Bool[np.ndarray, " N"]]:
        """Find hits as `hit` does, for rays from anywhere; only `candidates` may hit what moves."""
        hits = self.still.hit(origins, directions)
        moves = np.zeros(len(directions), dtype=bool)
        if self.moving is None or len(candidates) == 0:
            return hits, moves
        other = self.moving.hit(origins[candidates], directions[candidates])
        nearer = other.distance_m < hits.distance_m[candidates]
        rows = candidates[nearer]
        moves[rows] = True
        for mine, theirs in (
            (hits.distance_m, other.distance_m),
            (hits.face, other.face),
            (hits.u, other.u),
            (hits.v, other.v),
        ):
            mine[rows] = theirs[nearer]
        return hits, moves

    def surface(
        self,
        hits: Hits,
        moves: Bool[np.ndarray, " N"],
        origins: Float32[np.ndarray, "O 3"],
        directions: Float32[np.ndarray, "N 3"],
    ) -> tuple[Int[np.ndarray, " M"], Surface]:
        """Return the surface where rays hit, and which rays they are, in runs of one material.

        One origin stands for all rays.
        """
        found = hits.face >= 0
        still = self.still.by_material(hits, np.flatnonzero(found & ~moves))
        surface = self.still.surface(hits, still, origins, directions)
        if self.moving is None or not moves.any():
            return still, surface
        moving = self.moving.by_material(hits, np.flatnonzero(moves))
        other = self.moving.surface(hits, moving, origins, directions)
        both = Surface(
            np.concatenate((surface.position, other.position), axis=1),
            np.concatenate((surface.normal, other.normal), axis=1),
            np.concatenate((surface.local, other.local), axis=1),
            np.concatenate((surface.direction, other.direction), axis=1),
            np.concatenate((surface.material, other.material)),
            np.concatenate((surface.object_id, other.object_id)),
        )
        return np.concatenate((still, moving)), both

    def blocked(
        self, origins: Float32[np.ndarray, "N 3"], directions: Float32[np.ndarray, "N 3"]
    ) -> Bool[np.ndarray, " N"]:
        """Tell whether anything lies on every ray."""
        blocked = self.still.blocked(origins, directions)
        if self.moving is not None:
            rows = np.flatnonzero(~blocked)
            blocked[rows] = self.moving.blocked(origins[rows], directions[rows])
        return blocked

    def _toward_movers(
        self, origin: Float32[np.ndarray, "3"], directions: Float32[np.ndarray, "N 3"]
    ) -> Int[np.ndarray, " C"]:
        """Return the rays that pass through the ball around a moving object."""
        near, columns = np.zeros(len(directions), dtype=bool), directions.T.copy()
        for *center, radius in self.spheres:
            toward = np.array(center) - origin
            distance = float(np.linalg.norm(toward))
            if distance <= radius:
                return np.arange(len(directions))
            cosine = math.sqrt(1 - (float(radius) / distance) ** 2)  # no float64, which all rays would become
            x, y, z = (float(part) for part in toward / distance)
            near |= columns[0] * x + columns[1] * y + columns[2] * z > cosine
        return np.flatnonzero(near)
