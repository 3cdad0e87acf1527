"""Colours of all pictures, which colour-blind readers can tell apart.

Objects have colours of Okabe and Ito's set. Map layers have colours far from these and from each other.
"""

CLASS_COLORS = {
    "vehicle": "#E69F00",
    "pedestrian": "#56B4E9",
    "drivable_area": "#A8A8A8",
    "ped_crossing": "#4B0082",
    "walkway": "#F0E442",
    "stop_line": "#5C3A1E",
    "carpark_area": "#3969AC",
    "divider": "#000000",
}
"""Colour of each class that is segmented."""

SERIES_COLORS = ("#0072B2", "#E69F00", "#009E73", "#CC79A7", "#56B4E9", "#D55E00", "#8C8C8C")
"""Colours of series in charts, in this order; they are legible on light and dark pages."""

OTHER_COLOR = "#009E73"
"""Colour of all other boxes and classes."""

EGO_COLOR = "#D55E00"
"""Colour of the marker of the ego vehicle."""

BACKGROUND = "#F4F4F4"
"""Colour of empty BEV cells."""

DISTANCE_COLORS = "viridis_r"
"""matplotlib colour map of distances: near is light, far is dark."""

TIME_COLORS = "plasma"
"""matplotlib colour map of times: the past is dark, the future is light."""

HEIGHT_COLORS = "viridis"
"""matplotlib colour map of heights: low is dark, high is light."""

PROBABILITY_COLORS = "cividis"
"""matplotlib colour map of probabilities: 0 is dark, 1 is light."""


def color_of(name: str) -> str:
    """Return the colour of a class (`vehicle`) or of a nuScenes category (`human.pedestrian.adult`)."""
    family = "pedestrian" if name.startswith("human.pedestrian") else name.split(".")[0]
    return CLASS_COLORS.get(family, OTHER_COLOR)
