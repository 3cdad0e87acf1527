"""Where a scene was recorded. This module imports no torch."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Place:
    """Where a scene was recorded, as the tables say."""

    location: str = ""
    """Name of the map, such as `boston-seaport`; empty if it is not known."""
    base_map: str | None = None
    """File name of the base map relative to the data folder; None if it is not known."""
