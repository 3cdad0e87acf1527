"""timm's network names and its download hub."""

import difflib
from typing import Any

import timm

from occfeat.errors import SettingsError, WeightsError


def refuse_unknown(name: str) -> None:
    """Refuse a network or weights tag that timm does not know, and suggest close ones.

    Raises:
        SettingsError: timm has no network of this name, or no weights of this tag for it.
    """
    network, _, tag = name.partition(".")
    if not timm.is_model(network):
        raise SettingsError(
            f"timm knows no network {name!r}.",
            first=difflib.get_close_matches(network, timm.list_models(), n=4),
            hint="Take one of timm.list_models(); the closest names are shown above, if there are any.",
        )
    known = timm.list_pretrained(f"{network}.*")
    if tag and name not in known:
        raise SettingsError(
            f"timm knows no weights {tag!r} of {network}.",
            first=known,
            hint="Take one of these names, or the name of the network alone.",
        )


def create_pretrained(name: str, way_out: str, **options: Any) -> Any:
    """Create a timm network with weights of the hub, downloaded on first use and loaded strictly.

    Args:
        name: timm name, with or without the tag of the weights.
        way_out: Hint for a user without internet access.
        **options: Passed to `timm.create_model`, which refuses what the network does not have.

    Raises:
        WeightsError: The weights cannot be downloaded.
    """
    try:
        return timm.create_model(name, pretrained=True, **options)
    except Exception as error:  # of a dozen kinds, by what stands between here and the hub
        raise WeightsError(
            f"The pretrained weights of {name} could not be downloaded: {error}",
            hint=way_out,
        ) from error


def color_statistics(name: str) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Return mean and standard deviation of the colours (0 to 1) that weights of a timm network expect."""
    settings = timm.get_pretrained_cfg(name)
    if settings is None:
        return timm.data.IMAGENET_DEFAULT_MEAN, timm.data.IMAGENET_DEFAULT_STD
    return settings.mean, settings.std
