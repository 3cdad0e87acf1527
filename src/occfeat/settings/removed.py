"""Settings of earlier versions that were removed. Imports no torch."""

from typing import Any

REMOVED = {
    "view.decode_at_half": "JPEGs are decoded at half scale if that is enough",
    "engine.max_skipped": "a loss or gradient that is not finite stops the run",
    "engine.max_dead_workers": "a run stops when a loader process dies, and can be resumed",
    "shard_size": "a file of a cache holds 64 key frames",
    "to": "ONNX is the only format",
}
"""Why each was removed, or what replaced it."""


def without_removed(settings: Any) -> tuple[Any, dict[str, str]]:
    """Return settings without the removed ones, and the reason for each removal.

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
        else:
            kept[key] = _without(value, f"{name}.", found) if isinstance(value, dict) else value
    return kept
