"""The roads of a town: junctions, curved roads between them, lanes and ways through junctions.

Everything lies in the town's own frame (nuScenes' global frame: x east, y north, metres, all positive).
`side` is +1 for the left of a road seen along it and -1 for its right. Traffic along a road keeps to the side
`Network.along_side`. Crossings and stop lines belong to the ends of roads.
"""

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from jaxtyping import Float

from streetworld.town.curves import Curve
from streetworld.town.towns import Town

CROSSING_M = (1.2, 4.2)
"""Where crossings lie, from the end of a road."""
KERBSTONE_M = 0.18
"""Width of the stones between road and verge or sidewalk."""
MEDIAN_END_M = 6.5
"""Distance of planted medians from the ends of a road."""
STOP_LINE_M = (5.0, 5.4)
"""Where stop lines lie, from the end of a road."""


@dataclass(frozen=True)
class Profile:
    """Cross-section of a road, in metres; pairs are (left, right) seen along the road."""

    lanes: tuple[int, int]
    lane_m: float
    median_m: float
    parking_m: tuple[float, float]
    verge_m: tuple[float, float]
    sidewalk_m: tuple[float, float]

    def lane_edge_m(self, side: int) -> float:
        """Return the distance of the outermost lane's outer edge from the middle of the road."""
        return self.median_m / 2 + self.lanes[side < 0] * self.lane_m

    def kerb_m(self, side: int) -> float:
        """Return the distance of the kerb from the middle of the road."""
        return self.lane_edge_m(side) + self.parking_m[side < 0]

    @property
    def median_edge_m(self) -> float:
        """Distance of a planted median's kerb from the middle of the road."""
        return self.median_m / 2 - 0.15

    @property
    def planted(self) -> bool:
        """Whether the median is a raised strip of green."""
        return self.median_m > 1


@dataclass(frozen=True)
class Road:
    """A road between two junctions, up to the borders of their areas."""

    index: int
    ends: tuple[int, int]
    """Junctions at its start and end."""
    curve: Curve
    profile: Profile
    crossings: tuple[bool, bool]
    """Whether pedestrians cross at its start and end."""

    def kerb(self, side: int) -> Curve:
        """Return the kerb of one side, along the road."""
        return self.curve.offset(side * self.profile.kerb_m(side))

    @property
    def outline(self) -> Float[np.ndarray, "P 2"]:
        """Border of its surface, between the kerbs."""
        return np.concatenate((self.kerb(1).points, self.kerb(-1).points[::-1]))

    @property
    def median_curve(self) -> Curve:
        """Middle of the planted median, which ends before the road does."""
        return self.curve.part(MEDIAN_END_M, self.curve.length_m - MEDIAN_END_M)

    @property
    def median(self) -> Float[np.ndarray, "P 2"] | None:
        """Border of the planted median, if it has one."""
        if not self.profile.planted:
            return None
        edges = [self.median_curve.offset(side * self.profile.median_edge_m).points for side in (1, -1)]
        return np.concatenate((edges[0], edges[1][::-1]))


@dataclass(frozen=True)
class Arm:
    """A road as seen from one of its junctions."""

    road: int
    at_start: bool
    """Whether the junction is at the road's start."""
    direction: Float[np.ndarray, "2"]
    """Unit vector out of the junction."""
    point: Float[np.ndarray, "2"]
    """Middle of the road at the junction's border."""
    left_m: float
    right_m: float
    """Distances of the kerbs, seen out of the junction."""


@dataclass(frozen=True)
class Corner:
    """The kerb from one arm of a junction round to the next, junction on its left."""

    curve: Curve
    arms: tuple[int, int]
    """Positions in `Junction.arms` of the arms where it starts and ends."""


@dataclass(frozen=True)
class Junction:
    """Where roads meet."""

    index: int
    center: Float[np.ndarray, "2"]
    arms: tuple[Arm, ...]
    """In counter-clockwise order."""
    corners: tuple[Corner, ...]

    @property
    def signals(self) -> bool:
        """Whether it has traffic lights."""
        return len(self.arms) > 2

    def is_left_of(self, corner: Corner) -> bool:
        """Tell whether a corner bends away from the middle, as corners of less than half a turn do."""
        first, last = (self.arms[number].direction for number in corner.arms)
        return bool(first[0] * last[1] - first[1] * last[0] > 0)

    @cached_property
    def outline(self) -> Float[np.ndarray, "P 2"]:
        """Border of the drivable area, counter-clockwise."""
        return np.concatenate([corner.curve.points for corner in self.corners])


@dataclass(frozen=True)
class Lane:
    """A lane of a road, or a way through a junction (`road` is None), in driving direction."""

    index: int
    curve: Curve
    width_m: float
    road: int | None
    position: int
    """Lanes between this one and the middle of the road."""
    junction: int
    """The junction it leads to, or crosses."""
    arm: int
    """Position in the junction's arms of the arm by which it is entered."""


@dataclass(frozen=True)
class Network:
    """All roads of a town."""

    town: Town
    junctions: tuple[Junction, ...]
    roads: tuple[Road, ...]
    lanes: tuple[Lane, ...]
    following: tuple[tuple[int, ...], ...]
    """Lanes that a vehicle may drive on after each lane."""
    size_m: tuple[float, float]
    """Extent of the town's map along x and y."""

    @property
    def along_side(self) -> int:
        """Side of a road on which traffic goes along it: -1 right, +1 left."""
        return 1 if self.town.drives_left else -1


def corner_sides(
    network: Network, junction: Junction, corner: Corner
) -> tuple[Float[np.ndarray, " P"], Float[np.ndarray, " P"]]:
    """Return the widths of verge and sidewalk along a corner: from those of one road to those of the next.

    Where the corner is too tight for them they are narrower, so that their borders never cross.
    """
    count = len(corner.curve.points)
    ends = []
    for arm_number, hand in zip(corner.arms, (1, -1), strict=True):
        # A corner begins on the left of its first arm (seen outwards) and ends on the right of its second.
        arm = junction.arms[arm_number]
        right = (hand if arm.at_start else -hand) < 0
        profile = network.roads[arm.road].profile
        ends.append((profile.verge_m[right], profile.sidewalk_m[right]))
    verge, walk = (np.linspace(ends[0][i], ends[1][i], count) for i in (0, 1))
    room = 0.95 * corner.curve.smallest_radius_m - KERBSTONE_M
    shrink = min(1.0, room / float((verge + walk).max())) if junction.is_left_of(corner) else 1.0
    return verge * shrink, walk * shrink
