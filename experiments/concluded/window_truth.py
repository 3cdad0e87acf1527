"""What windows of sweeps get right, beside all surfaces of the street world.

    PYTHONPATH=experiments python -m concluded.window_truth [--scenes 12] [--seed 0] [--sweep-hz 20]

The LiDAR of each scene is turned at every moment of a window, with all movers where they are then. States of
voxels from the key frame's own sweep, and from windows with and without the rule for conflicts, are compared
with the triangles of the world at the time of the key frame: precision and recall of *occupied* and *empty*,
the share that stays *unknown*, and ghosts: voxels said to be occupied where nothing is at the time of the key
frame, but something that moves was at the time of another sweep. Writes nothing.
"""

import argparse
from dataclasses import dataclass
from itertools import product

import numpy as np
import torch
from jaxtyping import Bool, Float, UInt8
from numpy import ndarray

from harness.spread import with_interval
from occfeat.data.sample.lidar import EMPTY, IN_CONFLICT, OCCUPIED, Points
from occfeat.data.sweeps.accumulate import accumulate
from occfeat.data.sweeps.slices import RaySlices, trace_slices
from occfeat.data.sweeps.window import AROUND_M
from occfeat.geometry.grid import VoxelGrid, build_grid
from occfeat.settings.sections import GridConfig
from streetworld.request import SceneRequest
from streetworld.scene import KEY_FRAME_S, Scene, build_scene
from streetworld.things.shapes import Mesh, place
from streetworld.town.lots import TownRequest

EGO_RADIUS_M = 1.0
SPACING_M = 0.25
"""Longest edge of the triangles into which a surface is cut: a voxel that it enters by less may be missed."""
BLOCK_FACES = 20_000
"""Triangles that are cut at once."""
MOVES_MPS = 1.0
FRAMES = (2, 5)
"""Key frames of a scene that are looked at; windows of a second lie inside it."""
ARMS = ("single", "0.5 s", "0.5 s, no rule", "1 s", "1 s, no rule")


@dataclass(frozen=True)
class Truth:
    """What the world knows of the voxels around a key frame."""

    surface: Bool[ndarray, "X Y Z"]
    """Whether anything has a surface there at the time of the key frame."""
    moving: Bool[ndarray, "X Y Z"]
    """Whether something that moves has one there at the time of the key frame."""
    trail: Bool[ndarray, "X Y Z"]
    """Whether something that moves was there at another sweep's time, and nothing is at the key frame's."""


def scene_of(number: int, seed: int) -> Scene:
    """Build one scene of the town of the validation split."""
    town = TownRequest(2, seed, 8)
    return build_scene(
        SceneRequest(f"truth-{number}", town, number, 9, "nuscenes", (32, 48), ("noon",), 0, False)
    )


def sweep_times(frame: int, window_s: float, sweep_hz: int) -> list[float]:
    """Return the times of a window's sweeps without the key frame's own, in order."""
    reach = round(window_s * sweep_hz)
    return [frame * KEY_FRAME_S + step / sweep_hz for step in range(-reach, reach + 1) if step]


def ego_from_scene(scene: Scene, time_s: float) -> Float[ndarray, "4 4"]:
    """Return the transform into the ego frame at a moment."""
    pose = scene.global_from_ego(time_s)
    pose[:3, 3] -= scene.origin_m
    return np.linalg.inv(pose)


def scan(scene: Scene, time_s: float, key_s: float, grid: VoxelGrid) -> RaySlices:
    """Turn the LiDAR at a moment, and trace its rays in the ego frame of a key frame."""
    ego_from_lidar = ego_from_scene(scene, key_s) @ scene.scene_from_lidar(time_s)
    points = scene.scan(time_s).points[:, :3].astype(np.float64)
    points = points[np.linalg.norm(points[:, :2], axis=1) >= EGO_RADIUS_M]
    points_ego = torch.from_numpy(points @ ego_from_lidar[:3, :3].T + ego_from_lidar[:3, 3]).float()
    origins = torch.from_numpy(ego_from_lidar[:3, 3]).float().expand_as(points_ego)
    return trace_slices(Points.of_one_key_frame(points_ego, origins), grid)


def voxels_of(mesh: Mesh, ego_from_mesh: Float[ndarray, "4 4"], grid: VoxelGrid) -> Bool[ndarray, "X Y Z"]:
    """Return the voxels that the triangles of a mesh pass through."""
    lower_m, cell_m = np.array(grid.lower_m), np.array(grid.cell_m)
    vertices = (mesh.vertices @ ego_from_mesh[:3, :3].T + ego_from_mesh[:3, 3] - lower_m) / cell_m
    corners = vertices[mesh.faces]
    corners = corners[_is_near(corners, grid.shape)]
    marked = np.zeros(grid.shape, dtype=bool)
    for block in np.array_split(corners, len(corners) // BLOCK_FACES + 1):
        _mark(marked, block, SPACING_M / cell_m)
    return marked


def _mark(
    marked: Bool[ndarray, "X Y Z"], corners: Float[ndarray, "F 3 3"], small: Float[ndarray, "3"]
) -> None:
    """Mark the voxels of triangles in cells; those in several voxels are halved until they are small."""
    while len(corners := corners[_is_near(corners, marked.shape)]):
        cells = np.floor(corners).astype(np.int64)
        inside = ((cells >= 0) & (cells < marked.shape)).all(axis=2)
        marked[tuple(cells[inside].T)] = True
        edges = corners - np.roll(corners, 1, axis=1)
        length = np.linalg.norm(edges / small, axis=2)
        wide = (length.max(axis=1) > 1) & (cells != cells[:, :1]).any(axis=(1, 2))
        corners, longest = corners[wide], length[wide].argmax(axis=1)
        rows = np.arange(len(corners))
        end, begin, other = (corners[rows, (longest + shift) % 3] for shift in (0, -1, 1))
        middle = (begin + end) / 2
        corners = np.concatenate((np.stack((begin, middle, other), 1), np.stack((middle, end, other), 1)))


def _is_near(corners: Float[ndarray, "F 3 3"], shape: tuple[int, ...]) -> Bool[ndarray, " F"]:
    """Return which triangles may reach into the grid."""
    near: ndarray = (corners.max(axis=1) >= 0).all(axis=1) & (corners.min(axis=1) < shape).all(axis=1)
    return near


def movers_at(scene: Scene, time_s: float, *, moving: bool) -> list[Mesh]:
    """Return the meshes of those that move, or of all that could, where they are at a moment."""
    meshes = []
    for mover in scene.movers:
        if not moving or mover.speed_mps(time_s) > MOVES_MPS:
            pose = scene.pose_of(mover, time_s)
            position = (pose.x, pose.y, pose.z)
            scale = mover.annotation.scale
            meshes.append(place(mover.mesh(time_s), position, yaw_rad=pose.yaw_rad, scale=scale))
    return meshes


def truth_of(scene: Scene, key_s: float, times_s: list[float], grid: VoxelGrid) -> Truth:
    """Ask the world what is where."""
    from_scene = ego_from_scene(scene, key_s)

    def marked(meshes: list[Mesh]) -> Bool[ndarray, "X Y Z"]:
        """Return the voxels of some meshes."""
        each = [voxels_of(mesh, from_scene, grid) for mesh in meshes]
        return np.logical_or.reduce(each) if each else np.zeros(grid.shape, dtype=bool)

    surface = marked([scene.still.mesh, *movers_at(scene, key_s, moving=False)])
    moving = marked(movers_at(scene, key_s, moving=True))
    trail = marked([mesh for time_s in times_s for mesh in movers_at(scene, time_s, moving=True)])
    return Truth(surface, moving, trail & ~surface)


def score(states: UInt8[ndarray, "X Y Z"], truth: Truth) -> dict[str, float]:
    """Return what is right and wrong about states, in percent; ghosts are a number of voxels."""
    occupied, empty = states & OCCUPIED != 0, states & EMPTY != 0
    surface, still = truth.surface, truth.surface & ~truth.moving
    conflict = states & IN_CONFLICT != 0
    hit = occupied | conflict

    def share(part: Bool[ndarray, "X Y Z"], of: Bool[ndarray, "X Y Z"]) -> float:
        """Return a share in percent; NaN of nothing."""
        return 100 * float((part & of).sum() / of.sum()) if of.any() else float("nan")

    return {
        "occupied": float(occupied.sum()),
        "precision of occupied": share(surface, occupied),
        "recall of still surfaces": share(occupied, still),
        "recall of moving surfaces": share(occupied, truth.moving),
        "moving surfaces said empty": share(empty, truth.moving),
        "precision of empty": share(~surface, empty),
        "recall of empty": share(empty, ~surface),
        "unknown": 100 * float((states & (OCCUPIED | EMPTY) == 0).mean()),
        "conflicts, of hit voxels that movers pass": share(conflict, hit & (truth.trail | truth.moving)),
        "conflicts, of hit still surfaces": share(conflict, hit & still),
        "ghosts": float((occupied & truth.trail).sum()),
        "trail": float(truth.trail.sum()),
    }


def scores_of(scene: Scene, frame: int, sweep_hz: int, grid: VoxelGrid) -> dict[str, dict[str, float]]:
    """Return the scores of each arm for one key frame."""
    key_s = frame * KEY_FRAME_S
    longest = sweep_times(frame, 1.0, sweep_hz)
    traced = {time_s: scan(scene, time_s, key_s, grid) for time_s in longest}
    key = scan(scene, key_s, key_s, grid)
    truth = truth_of(scene, key_s, longest, grid)
    around = (round(AROUND_M / grid.cell_m[0]), round(AROUND_M / grid.cell_m[1]))
    found = {"single": score(accumulate(key, [], [], "key-sweep", around), truth)}
    for window_s, conflicts in product((0.5, 1.0), ("key-sweep", "ignore")):
        times_s = sweep_times(frame, window_s, sweep_hz)
        before, after = (
            [traced[time_s] for time_s in times_s if (time_s > key_s) == later] for later in (False, True)
        )
        name = f"{window_s:g} s{', no rule' if conflicts == 'ignore' else ''}"
        found[name] = score(accumulate(key, before, after, conflicts, around), truth)
    return found


def main() -> None:
    """Print one row per measure, the mean over scenes with its 95 % interval."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--scenes", type=int, default=12)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--sweep-hz", type=int, default=20, choices=(10, 20))
    given = parser.parse_args()
    torch.set_num_threads(1)
    grid = build_grid(GridConfig())
    by_scene = []
    for number in range(given.scenes):
        scene = scene_of(number, given.seed)
        by_scene.append([scores_of(scene, frame, given.sweep_hz, grid) for frame in FRAMES])
    print(f"| {given.scenes} scenes, {len(FRAMES)} key frames each | {' | '.join(ARMS)} |")
    print(f"|---{'|---' * len(ARMS)}|")
    for name in by_scene[0][0]["single"]:
        cells = []
        for arm in ARMS:
            means = [np.nanmean([one[arm][name] for one in frames]) for frames in by_scene]
            cells.append(with_interval([float(mean) for mean in means if not np.isnan(mean)]))
        print(f"| {name} | {' | '.join(cells)} |")


if __name__ == "__main__":
    main()
