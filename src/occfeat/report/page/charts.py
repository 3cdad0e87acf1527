"""Charts that compare several runs, as plain values that plotly draws in the page."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from html import escape
from typing import Any

from occfeat.report.page.groups import Spread
from occfeat.report.page.page import Chart
from occfeat.report.pictures.palette import SERIES_COLORS
from occfeat.runs.metrics_log import FACTORS

MOST_POINTS = 400
"""Points of a curve. Of a longer one every second, third … point is drawn, and the last."""
DASHES = ("solid", "dash", "dot", "dashdot", "longdash")


@dataclass(frozen=True)
class Curve:
    """One metric of one run over its steps."""

    run: str
    series: int
    """Index of its group, which decides the colour."""
    member: int
    """Index within its group, which decides the dashes."""
    points: Sequence[tuple[float, float]]
    """Step and value."""


def escaped(text: str) -> str:
    """Escape a text for plotly, which reads some HTML as markup and TeX between dollars."""
    return escape(text, quote=False).replace("$", "&#36;")


def curves(name: str, runs: Sequence[Curve]) -> Chart:
    """Draw one metric over the steps, a line for each run."""
    traces = [
        {
            "type": "scatter",
            "mode": "lines" if len(run.points) > 20 else "lines+markers",
            "name": escaped(run.run),
            "x": [step for step, _ in thinned(run.points)],
            "y": [value for _, value in thinned(run.points)],
            "line": {"color": color(run.series), "dash": DASHES[run.member % len(DASHES)], "width": 2},
        }
        for run in runs
    ]
    layout = {
        "title": {"text": escaped(name)},
        "xaxis": {"title": {"text": "step"}},
        "yaxis": {"type": "log" if name.startswith(FACTORS) else "linear"},
        "showlegend": len(runs) > 1,
        "legend": BELOW,
    }
    return Chart(traces, layout, f"{name} over the steps of {', '.join(run.run for run in runs)}")


def bars(metrics: Mapping[str, Mapping[str, Spread]], order: Sequence[str], caption: str) -> Chart:
    """Draw means as bars with their range, a colour for each group.

    Args:
        metrics: By group, by name of the metric.
        order: All groups, which decides the colours.
        caption: What the chart shows.
    """
    traces = []
    for group, spreads in metrics.items():
        values = list(spreads.values())
        above, below = ([one.most - one.mean for one in values], [one.mean - one.least for one in values])
        spread: dict[str, Any] = {"type": "data", "color": WHISKERS, "array": above, "arrayminus": below}
        spread |= {"symmetric": False, "visible": any(one.runs > 1 for one in values)}
        traces.append(
            {
                "type": "bar",
                "name": escaped(group),
                "x": [escaped(name) for name in spreads],
                "y": [one.mean for one in values],
                "marker": {"color": color(order.index(group))},
                "error_y": spread,
            }
        )
    layout = {
        "barmode": "group",
        "yaxis": {"title": {"text": "IoU"}, "rangemode": "tozero"},
        "legend": ABOVE,
        "showlegend": True,
    }
    return Chart(traces, layout, caption)


def radar(metrics: Mapping[str, Mapping[str, Spread]], order: Sequence[str], caption: str) -> Chart:
    """Draw means as a line around a circle for each group, a spoke for each name; see `bars`."""
    traces: list[dict[str, Any]] = []
    for group, spreads in metrics.items():
        names = [escaped(name) for name in spreads]
        values = [one.mean for one in spreads.values()]
        traces.append(
            {
                "type": "scatterpolar",
                "mode": "lines+markers",
                "name": escaped(group),
                "theta": [*names, names[0]],  # closes the line
                "r": [*values, values[0]],
                "line": {"color": color(order.index(group)), "width": 2},
            }
        )
    around = {"direction": "clockwise", "rotation": 90}
    layout = {
        "polar": {"radialaxis": {"rangemode": "tozero", "angle": 90}, "angularaxis": around},
        "margin": {"l": 90, "r": 90, "t": 40, "b": 20},
        "legend": {**BELOW, "y": -0.12},  # there are no axis titles between
        "showlegend": True,
    }
    return Chart(traces, layout, caption)


def thinned(points: Sequence[tuple[float, float]]) -> list[tuple[float, float]]:
    """Return at most `MOST_POINTS` points and the last one."""
    stride = -(-len(points) // MOST_POINTS) or 1
    kept = list(points[::stride])
    return kept if not points or kept[-1] == points[-1] else [*kept, points[-1]]


def color(number: int) -> str:
    """Return the colour of a group."""
    return SERIES_COLORS[number % len(SERIES_COLORS)]


WHISKERS = "#7d8590"
"""Colour of ranges, seen on light and dark pages."""
BELOW = {"orientation": "h", "yanchor": "top", "y": -0.3, "x": 0}
"""Position of a legend under its chart, where a phone has room for it."""
ABOVE = {"orientation": "h", "yanchor": "bottom", "y": 1.02, "x": 0}
"""Position of a legend above its chart, where long names of metrics are below it."""
