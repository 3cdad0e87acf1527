"""Settings of earlier versions that were removed or renamed. Imports no torch."""

from collections.abc import Hashable
from typing import Any

REMOVED = {
    "view.decode_at_half": "JPEGs are decoded at half scale if that is enough",
    "engine.max_skipped": "a loss or gradient that is not finite stops the run",
    "engine.max_dead_workers": "a run stops when a loader process dies, and can be resumed",
    "to": "ONNX is the only format",
}
"""Why each was removed, or what replaced it."""

RENAMED: dict[str, tuple[str, dict[Any, Any]]] = {
    "loss.center_features": ("center", {False: "none", True: "mean"}),
}
"""New name of each within its section, and its new values by the old ones."""


def why_removed(name: str) -> str:
    """Return why a setting was removed or what it is called now, or an empty string if it was not."""
    if name not in RENAMED:
        return REMOVED.get(name, "")
    new, values = RENAMED[name]
    now = ", ".join(f"{value} for {str(old).lower()}" for old, value in values.items())
    return f"it is {name.rpartition('.')[0]}.{new} now: {now}"


def without_removed(settings: Any) -> tuple[Any, dict[str, str]]:
    """Return settings without the removed ones, and the reason for each removal.

    Renamed settings get their new names and values.

    Args:
        settings: Content of a file, with nested sections.
    """
    if not isinstance(settings, dict):
        return settings, {}
    found: dict[str, str] = {}
    return _without(settings, "", found), found


def _without(settings: dict[Any, Any], prefix: str, found: dict[str, str]) -> dict[Any, Any]:
    """Return one section without removed settings; add those to `found`."""
    kept = {}
    for key, value in settings.items():
        name = f"{prefix}{key}"
        if name in REMOVED:
            found[name] = REMOVED[name]
        elif name in RENAMED:
            new, values = RENAMED[name]
            kept[new] = values.get(value, value) if isinstance(value, Hashable) else value
        else:
            kept[key] = _without(value, f"{name}.", found) if isinstance(value, dict) else value
    return kept
