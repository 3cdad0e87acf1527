"""The tree of frames of a recording: static transforms, moving ones, and look-up between any two frames.

A transform with parent a and child b is `a_from_b`. Names have no leading slashes.

Axes: `Q` times that are asked for.
"""

from array import array
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Bool, Float64, Int64, Real
from numpy import ndarray

from occfeat.data.recordings.bags.bag import Bag
from occfeat.data.recordings.bags.messages import Message, plain_frame
from occfeat.data.recordings.bags.trajectory import Trajectory, build_trajectory
from occfeat.errors import DatasetError, FrameError, MessageError, did_you_mean
from occfeat.geometry.motion import invert, matrices, normalised

TRANSFORMS = ("tf2_msgs/msg/TFMessage", "tf/msg/tfMessage")
STATIC_TOPIC = "/tf_static"
SAME_M, SAME_RAD = 1e-3, 1e-3
"""Static transforms of the same two frames that differ by less are the same (this project's choice)."""
_SHOWN = 12


@dataclass(frozen=True, eq=False)
class Edge:
    """A transform from a frame to its parent."""

    parent: str
    child: str
    static: Float64[ndarray, "4 4"] | None
    """`parent_from_child`, if it never changes."""
    moving: Trajectory | None
    """`parent_from_child` over time, otherwise."""

    def at(self, times_us: Real[ndarray, " Q"]) -> Float64[ndarray, "Q 4 4"]:
        """Return `parent_from_child` at these times.

        Raises:
            FrameError: It is not known at one of them.
        """
        if self.moving is None:
            return np.broadcast_to(np.asarray(self.static), (len(times_us), 4, 4))
        try:
            return self.moving.at(times_us)
        except DatasetError as error:
            raise FrameError(f"Transform {self.parent} <- {self.child}: {error.message}") from error


@dataclass(frozen=True, eq=False)
class FrameTree:
    """All transforms of a recording, by child."""

    edges: Mapping[str, Edge]
    faults: tuple[str, ...] = ()
    """What was wrong with the transforms, one sentence each."""

    def frames(self) -> list[str]:
        """Return the names of all frames."""
        return sorted({name for edge in self.edges.values() for name in (edge.parent, edge.child)})

    def trees(self) -> list[list[str]]:
        """Return the frames of each tree; more than one tree are not connected."""
        groups: dict[str, list[str]] = defaultdict(list)
        for name in self.frames():
            groups[self._root_of(name)].append(name)
        return sorted(groups.values(), key=lambda names: (-len(names), names))

    def are_connected(self, first: str, second: str) -> bool:
        """Return whether the transform between two frames can be looked up."""
        known = set(self.frames())
        first, second = plain_frame(first), plain_frame(second)
        return first == second or ({first, second} <= known and self._root_of(first) == self._root_of(second))

    def look_up(self, target: str, source: str, times_us: Int64[ndarray, " Q"]) -> Float64[ndarray, "Q 4 4"]:
        """Return `target_from_source` at these times.

        Raises:
            FrameError: A frame is unknown, the frames are not connected, or a transform between them is not
                known at one of the times.
        """
        joined = np.broadcast_to(np.eye(4), (len(times_us), 4, 4)).copy()
        for edge, upwards in self.path(plain_frame(target), plain_frame(source)):
            step = edge.at(times_us)
            joined = (step if upwards else invert(step)) @ joined
        return joined

    def look_up_static(self, target: str, source: str) -> Float64[ndarray, "4 4"]:
        """Return `target_from_source` of two frames that never move against each other.

        Raises:
            FrameError: A frame is unknown, or the frames are not connected, or they move.
        """
        moving = [edge for edge, _ in self.path(plain_frame(target), plain_frame(source)) if edge.moving]
        if moving:
            names = [f"{edge.parent} <- {edge.child}" for edge in moving]
            hint = "State the transform in the rig file if they are fixed to each other."
            raise FrameError(f"Frames {target} and {source} move against each other.", first=names, hint=hint)
        return self.look_up(target, source, np.zeros(1, np.int64))[0]

    def covers(self, target: str, source: str, times_us: Int64[ndarray, " Q"]) -> Bool[ndarray, " Q"]:
        """Return at which times the transform between two connected frames is known."""
        known = np.ones(len(times_us), dtype=bool)
        for edge, _ in self.path(plain_frame(target), plain_frame(source)):
            known &= edge.moving is None or edge.moving.covers(times_us)
        return known

    def _root_of(self, name: str) -> str:
        """Return the frame at the top of the tree of a frame."""
        return self._upwards(name)[-1]

    def _upwards(self, name: str) -> list[str]:
        """Return a frame and all that are above it. Loops were refused when the tree was built."""
        names = [name]
        while names[-1] in self.edges:
            names.append(self.edges[names[-1]].parent)
        return names

    def path(self, target: str, source: str) -> list[tuple[Edge, bool]]:
        """Return the edges from source to target, and whether each is passed from child to parent."""
        known = self.frames()
        for name in (target, source):
            if name not in known and target != source:
                listed = known[:_SHOWN] + ["..."] * (len(known) > _SHOWN)
                hint = f"{did_you_mean(name, known)}State its transform in the rig file if the bag has none."
                raise FrameError(f"Frame {name!r} has no transform. Known frames:", first=listed, hint=hint)
        up, down = self._upwards(source), self._upwards(target)
        if up[-1] != down[-1]:
            raise self._not_connected(target, source)
        common = next(name for name in up if name in set(down))
        ascent = [(self.edges[name], True) for name in up[: up.index(common)]]
        descent = [(self.edges[name], False) for name in reversed(down[: down.index(common)])]
        return ascent + descent

    def _not_connected(self, target: str, source: str) -> FrameError:
        """Return the error about two frames in different trees, which lists the frames of both."""
        lines = []
        for name in (target, source):
            tree = next(names for names in self.trees() if name in names)
            more = f" and {len(tree) - _SHOWN} more" if len(tree) > _SHOWN else ""
            lines.append(f"tree of {name}: {', '.join(tree[:_SHOWN])}{more}")
        hint = "Record /tf_static from its beginning, or state the missing transform in the rig file."
        return FrameError(f"Frames {target} and {source} are not connected.", first=lines, hint=hint)


class TransformCollector:
    """Collects the transforms of messages.

    Topics whose name ends in `/tf_static` hold static transforms, other topics of transforms hold moving
    ones.
    A moving transform that never changes counts as static. Damaged messages are left out and counted.
    """

    def __init__(self) -> None:
        self._static: dict[tuple[str, str, bytes], tuple[str, str, Float64[ndarray, "4 4"]]] = {}
        self._moving: dict[tuple[str, str], array[float]] = defaultdict(lambda: array("d"))
        self._damaged = 0

    def add(self, message: Message) -> None:
        """Collect the transforms of one message."""
        try:
            transforms = message.decode().transforms
        except MessageError:
            self._damaged += 1
            return
        for one in transforms:
            parent, child = plain_frame(one.header.frame_id), plain_frame(one.child_frame_id)
            if message.topic.endswith(STATIC_TOPIC):
                static = _static_of(one.transform)
                self._static[parent, child, static.tobytes()] = (parent, child, static)
            else:
                stamp = one.header.stamp
                self._moving[parent, child].extend((stamp.sec, stamp.nanosec, *_numbers(one.transform)))

    def tree(self) -> FrameTree:
        """Return the tree of all transforms.

        Raises:
            FrameError: The frames are in a loop.
        """
        faults = [f"{self._damaged} messages with transforms cannot be decoded."] if self._damaged else []
        moving = {pair: _trajectory(np.array(rows).reshape(-1, 9)) for pair, rows in self._moving.items()}
        return build_tree(self._static.values(), moving, faults)


def read_frames(bag: Bag) -> FrameTree:
    """Return the tree of all transforms of a bag.

    Raises:
        FrameError: The frames are in a loop.
    """
    collector = TransformCollector()
    for message in bag.messages([topic.name for topic in bag.topics_of(*TRANSFORMS)]):
        collector.add(message)
    return collector.tree()


def build_tree(
    static: Iterable[tuple[str, str, Float64[ndarray, "4 4"]]],
    moving: Mapping[tuple[str, str], Trajectory],
    faults: Iterable[str] = (),
) -> FrameTree:
    """Return a tree of transforms; a frame has one parent.

    Args:
        static: Parent, child and `parent_from_child`. Later ones of the same frames replace earlier ones, and
            a fault is noted if they differ.
        moving: Trajectories by parent and child.
        faults: What was wrong already.

    Raises:
        FrameError: The frames are in a loop.
    """
    noted = list(faults)
    edges: dict[str, Edge] = {}
    for parent, child, transform in static:
        _add(edges, Edge(parent, child, transform, None), noted)
    for (parent, child), trajectory in moving.items():
        noted.extend(f"{parent} <- {child}: {fault}" for fault in trajectory.faults)
        if len(trajectory):
            _add(edges, _moving_edge(parent, child, trajectory), noted)
    _refuse_loops(edges)
    return FrameTree(edges, tuple(dict.fromkeys(noted)))


def _add(edges: dict[str, Edge], new: Edge, faults: list[str]) -> None:
    """Add a transform, and note what it contradicts. Of two parents of a frame, the first is kept."""
    if not new.parent or not new.child or new.parent == new.child:
        faults.append(f"A transform from {new.child!r} to {new.parent!r} is left out.")
        return
    if new.moving is None and not np.isfinite(np.asarray(new.static)).all():
        faults.append(f"The static transform {new.parent} <- {new.child} is not finite or has no rotation.")
        return
    old = edges.get(new.child)
    if old is not None and old.parent != new.parent:
        faults.append(f"Frame {new.child} has two parents, {old.parent} and {new.parent}; the first is used.")
        return
    if old is not None and new.moving is not None:
        faults.append(f"{new.parent} <- {new.child} is static and moves; the static transform is used.")
        return
    if old is not None and (difference := _difference(np.asarray(old.static), np.asarray(new.static))):
        faults.append(
            f"Static transforms {new.parent} <- {new.child} differ by {difference}; the last is used."
        )
    edges[new.child] = new


def _difference(first: Float64[ndarray, "4 4"], second: Float64[ndarray, "4 4"]) -> str:
    """Return by how much two transforms differ, or an empty string if they are the same."""
    moved_m = float(np.linalg.norm(first[:3, 3] - second[:3, 3]))
    cosine = (np.trace(first[:3, :3].T @ second[:3, :3]) - 1) / 2
    turned = float(np.arccos(np.clip(cosine, -1, 1)))
    if moved_m < SAME_M and turned < SAME_RAD:
        return ""
    return f"{moved_m:.3f} m and {np.degrees(turned):.2f} degrees"


def _moving_edge(parent: str, child: str, trajectory: Trajectory) -> Edge:
    """Return a transform that was published again and again, as a static one if it never changes."""
    rows = np.hstack((trajectory.positions_m, trajectory.quaternions))
    if len(rows) > 1 and (rows == rows[0]).all():
        return Edge(parent, child, matrices(rows[:1, :3], rows[:1, 3:])[0], None)
    return Edge(parent, child, None, trajectory)


def _refuse_loops(edges: Mapping[str, Edge]) -> None:
    """Refuse transforms that lead back to where they began.

    Raises:
        FrameError: The frames are in a loop.
    """
    sound: set[str] = set()
    for start in edges:
        seen: dict[str, None] = {}
        name = start
        while name in edges and name not in sound:
            if name in seen:
                loop = list(seen)[list(seen).index(name) :]
                hint = "Two nodes publish transforms in opposite directions. Leave one of them out."
                raise FrameError(f"Frames are in a loop: {' <- '.join([*loop, name])}.", hint=hint)
            seen[name] = None
            name = edges[name].parent
        sound |= seen.keys()


def _numbers(transform: Any) -> Iterator[float]:
    """Yield x, y, z, qw, qx, qy, qz of a decoded Transform."""
    place, turn = transform.translation, transform.rotation
    yield from (place.x, place.y, place.z, turn.w, turn.x, turn.y, turn.z)


def _static_of(transform: Any) -> Float64[ndarray, "4 4"]:
    """Return the matrix of a decoded Transform."""
    row = np.array([list(_numbers(transform))])
    return matrices(row[:, :3], normalised(row[:, 3:]))[0]


def _trajectory(rows: Float64[ndarray, "N 9"]) -> Trajectory:
    """Return the trajectory of rows of seconds, nanoseconds, and seven numbers of a pose."""
    times_us = rows[:, 0].astype(np.int64) * 1_000_000 + rows[:, 1].astype(np.int64) // 1000
    return build_trajectory(times_us, rows[:, 2:5], rows[:, 5:])
