"""Rays against meshes with Embree, and what is known where they hit.

Axes: `N` rays. One tracer holds what stands still in a scene, another what moves at one moment.
"""

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from jaxtyping import Bool, Float, Float32, Int32, UInt8

from occfeat.errors import SettingsError
from occfeat.world.shapes import Mesh

if TYPE_CHECKING:
    pass

FAR_M = 3000.0
"""Rays that hit nothing report this distance."""


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
    """The surface at points that rays hit."""

    position: Float32[np.ndarray, "N 3"]
    normal: Float32[np.ndarray, "N 3"]
    """Unit normal, turned towards the ray's origin."""
    local: Float32[np.ndarray, "N 3"]
    material: UInt8[np.ndarray, " N"]
    object_id: Int32[np.ndarray, " N"]


def require_embree() -> None:
    """Fail with advice where the ray tracer is not installed."""
    try:
        import embreex  # noqa: F401
    except ImportError as error:
        raise SettingsError(
            "The street world needs embreex, which is not installed.",
            hint="Run `pip install occfeat[world]`. embreex has wheels for Linux x86_64, macOS arm64 and "
            "Windows; on other platforms build the world elsewhere and copy its folder.",
        ) from error


class Tracer:
    """A mesh that rays can be cast at."""

    def __init__(self, mesh: Mesh) -> None:
        from embreex.mesh_construction import TriangleMesh
        from embreex.rtcore_scene import EmbreeScene

        self.mesh = mesh
        self._scene: EmbreeScene = EmbreeScene()
        TriangleMesh(self._scene, np.ascontiguousarray(mesh.vertices[mesh.faces], dtype=np.float32))

    def hit(self, origins: Float32[np.ndarray, "N 3"], directions: Float32[np.ndarray, "N 3"]) -> Hits:
        """First triangle on every ray; directions are unit vectors."""
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

    def blocked(
        self, origins: Float32[np.ndarray, "N 3"], directions: Float32[np.ndarray, "N 3"]
    ) -> Bool[np.ndarray, " N"]:
        """Whether anything at all lies on every ray."""
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
        rows: Int32[np.ndarray, " M"],
        origins: Float32[np.ndarray, "N 3"],
        directions: Float32[np.ndarray, "N 3"],
    ) -> Surface:
        """The surface where the rays `rows` hit; all of them must."""
        mesh, face = self.mesh, hits.face[rows]
        corners = mesh.faces[face]
        v, w = hits.u[rows, None], hits.v[rows, None]
        u = 1 - v - w
        direction = directions[rows]
        position = origins[rows] + direction * hits.distance_m[rows, None]
        a, b, c = corners.T
        normal = mesh.normals[a] * u + mesh.normals[b] * v + mesh.normals[c] * w
        normal /= np.maximum(np.sqrt(np.einsum("ij,ij->i", normal, normal)), 1e-9)[:, None]
        normal *= np.where(np.einsum("ij,ij->i", normal, direction) > 0, np.float32(-1), np.float32(1))[
            :, None
        ]
        local = mesh.local[a] * u + mesh.local[b] * v + mesh.local[c] * w
        return Surface(position, normal, local, mesh.material[face], mesh.object_id[face])


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
        """First triangle on rays from one point, and whether it belongs to something that moves."""
        origins = np.broadcast_to(origin, directions.shape)
        return self.hit_from(
            np.ascontiguousarray(origins), directions, self._toward_movers(origin, directions)
        )

    def hit_from(
        self,
        origins: Float32[np.ndarray, "N 3"],
        directions: Float32[np.ndarray, "N 3"],
        candidates: Int32[np.ndarray, " C"],
    ) -> tuple[Hits, Bool[np.ndarray, " N"]]:
        """As `hit`, for rays from anywhere; only `candidates` are tried against what moves."""
        hits = self.still.hit(origins, directions)
        moves = np.zeros(len(directions), dtype=bool)
        if self.moving is None or len(candidates) == 0:
            return hits, moves
        other = self.moving.hit(origins[candidates], directions[candidates])
        nearer = other.distance_m < hits.distance_m[candidates]
        rows = candidates[nearer]
        moves[rows] = True
        for mine, theirs in (
            (hits.distance_m, other.distance_m), (hits.face, other.face), (hits.u, other.u), (hits.v, other.v),
        ):  # fmt: skip
            mine[rows] = theirs[nearer]
        return hits, moves

    def surface(
        self,
        hits: Hits,
        moves: Bool[np.ndarray, " N"],
        rows: Int32[np.ndarray, " M"],
        origins: Float32[np.ndarray, "N 3"],
        directions: Float32[np.ndarray, "N 3"],
    ) -> Surface:
        """The surface where the rays `rows` hit."""
        mixed = moves[rows]
        if self.moving is None or not mixed.any():
            return self.still.surface(hits, rows, origins, directions)
        still = self.still.surface(hits, rows[~mixed], origins, directions)
        moving = self.moving.surface(hits, rows[mixed], origins, directions)
        columns = []
        for name in ("position", "normal", "local", "material", "object_id"):
            first, second = getattr(still, name), getattr(moving, name)
            column = np.empty((len(rows), *first.shape[1:]), dtype=first.dtype)
            column[~mixed], column[mixed] = first, second
            columns.append(column)
        return Surface(*columns)

    def blocked(
        self, origins: Float32[np.ndarray, "N 3"], directions: Float32[np.ndarray, "N 3"]
    ) -> Bool[np.ndarray, " N"]:
        """Whether anything lies on every ray."""
        blocked = self.still.blocked(origins, directions)
        if self.moving is not None:
            rows = np.flatnonzero(~blocked)
            blocked[rows] = self.moving.blocked(origins[rows], directions[rows])
        return blocked

    def _toward_movers(
        self, origin: Float32[np.ndarray, "3"], directions: Float32[np.ndarray, "N 3"]
    ) -> Int32[np.ndarray, " C"]:
        """Rays that pass through the ball around a moving object."""
        near = np.zeros(len(directions), dtype=bool)
        for *center, radius in self.spheres:
            toward = np.array(center) - origin
            distance = float(np.linalg.norm(toward))
            if distance <= radius:
                return np.arange(len(directions), dtype=np.int32)
            cosine = np.sqrt(1 - (radius / distance) ** 2)
            near |= directions @ (toward / distance).astype(np.float32) > cosine
        return np.flatnonzero(near).astype(np.int32)
