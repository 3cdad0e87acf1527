"""Categories of boxes: which of them are labels, and which are not known."""

from collections.abc import Mapping

from jaxtyping import Int64
from numpy import ndarray

from occfeat.data.check.findings import Findings
from occfeat.data.index.index import Index
from occfeat.data.source.source import Taxonomy

MAX_NAMES = 20
"""Largest number of categories that one message lists."""


def check_categories(index: Index, rows: Int64[ndarray, " n"], findings: Findings) -> list[str]:
    """Find boxes whose categories are not known: a problem if no box of some key frames is a label.

    Returns:
        Notes, if some boxes are labels.
    """
    counts = index.count_categories(rows)
    unknown = unknown_categories(index.taxonomy, counts)
    if not unknown:
        return []
    if any(index.taxonomy.class_of(name) for name in counts):
        what = f"{sum(unknown.values())} boxes have categories that are not known and are labels of no class:"
        return [f"{what} {listed(unknown)}. If they should be, map them with `--labels.categories`."]
    findings.add_many("unknown category", len(unknown), [f"{name}: {n} boxes" for name, n in unknown.items()])
    return []


def unknown_categories(taxonomy: Taxonomy, counts: Mapping[str, int]) -> dict[str, int]:
    """Return the categories of some boxes that a taxonomy does not know, the most frequent ones first."""
    unknown = {name: count for name, count in counts.items() if not taxonomy.knows(name)}
    return dict(sorted(unknown.items(), key=lambda one: (-one[1], one[0])))


def listed(counts: Mapping[str, int]) -> str:
    """Return categories with their numbers of boxes, as text."""
    names = [f"{name} ({count})" for name, count in counts.items()]
    more = [f"and {len(names) - MAX_NAMES} more"] if len(names) > MAX_NAMES else []
    return ", ".join(names[:MAX_NAMES] + more)
