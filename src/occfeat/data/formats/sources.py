"""Known data sources, and the choice of one by the content of a data folder.

Further sources are added by `register_source`, for this process, or by installed packages that name a class
as an entry point of the group `occfeat.sources`.
"""

from importlib.metadata import EntryPoint, entry_points
from pathlib import Path

from occfeat.data.formats.argoverse2.source import Argoverse2
from occfeat.data.formats.nuscenes.dialects import T4, Lyft, TruckScenes
from occfeat.data.formats.nuscenes.source import NuScenes
from occfeat.data.source.source import DataSource
from occfeat.errors import DatasetError, SettingsError

ENTRY_POINTS = "occfeat.sources"
"""Group of entry points; each names a class that derives from `DataSource`."""

_KNOWN = (NuScenes, TruckScenes, Lyft, T4, Argoverse2)
_registered: dict[str, type[DataSource]] = {one.name: one for one in _KNOWN}


def register_source(source: type[DataSource]) -> None:
    """Register a data format in this process and in those it forks.

    Args:
        source: Class of the format. Registering it again has no effect.

    Raises:
        SettingsError: Another format has the same name.
    """
    _add(_registered, source)


def known_sources() -> dict[str, type[DataSource]]:
    """Return every known format by name.

    Raises:
        SettingsError: A format of an installed package cannot be loaded, or its name is taken.
    """
    known = dict(_registered)
    for point in entry_points(group=ENTRY_POINTS):
        _add(known, _load(point))
    return known


def _load(point: EntryPoint) -> type[DataSource]:
    """Load the format of an installed package."""
    what = f"The data source {point.name} ({point.value}) of an installed package cannot be loaded"
    hint = "Correct or uninstall that package."
    try:
        source = point.load()
    except (ImportError, AttributeError) as error:
        raise SettingsError(f"{what}: {error}.", hint=hint) from error
    if not (isinstance(source, type) and issubclass(source, DataSource)):
        raise SettingsError(f"{what}: expected a class that derives from DataSource.", hint=hint)
    return source


def _add(known: dict[str, type[DataSource]], source: type[DataSource]) -> None:
    """Add a format to the known ones; refuse a name that is taken."""
    if known.setdefault(source.name, source) is not source:
        other = known[source.name]
        raise SettingsError(
            f"Two data sources have the name {source.name!r}: {other.__module__}.{other.__qualname__} and "
            f"{source.__module__}.{source.__qualname__}.",
            hint="Give one of them another name.",
        )


def find_source(root: Path, version: str | None) -> DataSource:
    """Return the data source of a folder, chosen by its content.

    Args:
        root: The data folder.
        version: Version of the data set. None: the only one.

    Raises:
        DatasetError: No format or several formats are found.
        SettingsError: There are several versions and none was chosen.
    """
    if not root.is_dir():
        what = "is a file, not a folder" if root.is_file() else "does not exist"
        raise DatasetError(f"Data folder {root} {what}.", hint="Check the path (`--data`).")
    known = known_sources()
    try:
        found = [(source, one) for source in known.values() for one in source.versions(root)]
    except OSError as error:
        raise DatasetError(f"Data folder {root} cannot be read: {error.strerror or error}.") from error
    chosen = [(source, one) for source, one in found if version in (None, one)]
    if not chosen:
        raise _none_found(root, version, [one for _, one in found], known)
    if len({source for source, _ in chosen}) > 1:
        raise DatasetError(
            f"Data folder {root} contains several formats; expected one.",
            first=[f"{source.name}{f' ({one})' if one else ''}" for source, one in chosen],
            hint="Move each to a separate folder.",
        )
    if len(chosen) > 1:
        versions = [one for _, one in chosen]
        hint = "Choose one with `--version`."
        raise SettingsError(f"Data folder {root} contains several versions.", first=versions, hint=hint)
    source, name = chosen[0]
    return source(root, name)


def _none_found(
    root: Path, version: str | None, versions: list[str], known: dict[str, type[DataSource]]
) -> DatasetError:
    """Return the error for a folder without a data set of the requested kind."""
    advice = [text for source in known.values() if (text := source.advice(root))]
    if version is not None:
        there = f"Versions in it: {', '.join(filter(None, versions)) or 'none'}."
        what, advice = f"has no version {version!r}", [there, *([] if versions else advice)]
    else:
        what = f"does not contain a data set of a known format ({', '.join(known)})"
    return DatasetError(f"Data folder {root} {what}.", hint=" ".join(advice))
