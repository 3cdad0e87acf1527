import pytest

from occfeat.report.page.charts import MOST_POINTS, Curve, bars, curves, escaped, radar, thinned
from occfeat.report.page.groups import Spread

METRICS = {"none": {"a": Spread.of([0.1, 0.3]), "b": Spread.of([0.5])}, "ours": {"a": Spread.of([0.4])}}
ORDER = ["other", "none", "ours"]


def test_plain__is_no_markup_for_plotly() -> None:
    assert escaped('<a href="x">&$y$') == '&lt;a href="x"&gt;&amp;&#36;y&#36;'


def test_bars__are_means_with_their_range() -> None:
    chart = bars(METRICS, ORDER, "caption")
    none, ours = chart.data
    assert none["y"] == pytest.approx([0.2, 0.5])
    assert none["error_y"]["array"] == pytest.approx([0.1, 0])
    assert none["error_y"]["arrayminus"] == pytest.approx([0.1, 0])
    assert none["error_y"]["visible"]
    assert not ours["error_y"]["visible"]


def test_colours__of_a_group_are_the_same_in_all_charts() -> None:
    spokes = {"ours": {name: Spread.of([0.4]) for name in "abc"}}
    curve = curves("loss", [Curve("ours-0", ORDER.index("ours"), 0, [(1.0, 2.0)])])
    colors = {
        bars(METRICS, ORDER, "").data[1]["marker"]["color"],
        radar(spokes, ORDER, "").data[0]["line"]["color"],
        curve.data[0]["line"]["color"],
    }
    assert len(colors) == 1


def test_radar__closes_its_line() -> None:
    spokes = {"none": {"a": Spread.of([0.1]), "b": Spread.of([0.2]), "c": Spread.of([0.3])}}
    (trace,) = radar(spokes, ORDER, "caption").data
    assert trace["theta"] == ["a", "b", "c", "a"]
    assert trace["r"] == [0.1, 0.2, 0.3, 0.1]


def test_curves__of_factors_have_a_logarithmic_axis() -> None:
    kinds = {
        name: curves(name, [Curve("a", 0, 1, [(1.0, 2.0)])]).layout["yaxis"]["type"]
        for name in ("ratio/features", "weight/features", "loss/features")
    }
    assert list(kinds.values()) == ["log", "log", "linear"]


def test_thinned__keeps_the_ends_of_long_curves() -> None:
    points = [(float(step), 0.0) for step in range(10 * MOST_POINTS + 7)]
    kept = thinned(points)
    assert MOST_POINTS / 2 < len(kept) <= MOST_POINTS + 1
    assert (kept[0], kept[-1]) == (points[0], points[-1])
    assert thinned(points[:5]) == points[:5]
    assert thinned([]) == []


def test_charts__are_what_plotly_understands() -> None:
    graph_objects = pytest.importorskip("plotly.graph_objects", reason="comes with the extra `report`")
    spokes = {"none": {name: Spread.of([0.1]) for name in "abc"}}
    for chart in (
        bars(METRICS, ORDER, ""),
        radar(spokes, ORDER, ""),
        curves("loss", [Curve("a", 0, 1, [(1.0, 2.0), (2.0, 1.0)])]),
    ):
        figure = graph_objects.Figure(data=chart.data, layout=chart.layout)  # raises on unknown names
        assert len(figure.data) == len(chart.data)
