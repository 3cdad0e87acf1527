"""The place of a scene. This module imports no torch."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Place:
    """The place where a scene was recorded, and whether the car knew where it was."""

    location: str = ""
    """Name of the map, such as `boston-seaport`; empty if unknown."""
    base_map: str | None = None
    """File name of the base map relative to the data folder; None if unknown."""
    has_poses: bool = True
    """Whether the poses of the car are known. If they are not, all ego poses are the identity."""
