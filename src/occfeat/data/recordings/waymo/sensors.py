"""Names of the sensors."""

from occfeat.errors import DatasetError

CAMERAS = ("FRONT", "FRONT_LEFT", "FRONT_RIGHT", "SIDE_LEFT", "SIDE_RIGHT")
"""Names of the cameras, numbered from 1."""
LASERS = ("TOP", "FRONT", "SIDE_LEFT", "SIDE_RIGHT", "REAR")
"""Names of the LiDARs, numbered from 1. The first is the reference."""
TOP = "LIDAR_TOP"


def channel(kind: str, name: str, known: tuple[str, ...]) -> str:
    """Return the channel of a sensor, such as `CAM_FRONT`.

    Args:
        kind: `CAM` or `LIDAR`.
        name: Its name or number; old files have names, new ones numbers.
        known: Names by number.

    Raises:
        DatasetError: There is no such sensor.
    """
    if name.isdecimal() and 1 <= int(name) <= len(known):
        name = known[int(name) - 1]
    if name not in known:
        raise DatasetError(f"Expected a sensor among 1 to {len(known)} or {', '.join(known)}, got {name!r}.")
    return f"{kind}_{name}"
