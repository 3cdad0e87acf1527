"""How rerun's viewer arranges a recording.

Above are the cameras as one sees them from the car, below them the street and, seen from above, what is
labelled and what is predicted.
"""

from collections.abc import Sequence
from typing import Any

from occfeat.data.sample import Cameras
from occfeat.report.pictures.rig import natural_rows

EGO = "/world/ego"
"""Entity of the car; everything known and predicted lies below it."""
STREET = (f"{EGO}/cameras/**", f"{EGO}/lidar", f"{EGO}/voxels", f"{EGO}/boxes")
BEHIND_M, ABOVE_M = (-22.0, 0.0, 16.0), (0.0, 0.0, 110.0)
"""Where one looks from, in the ego frame: at the street, and at the layers."""


def layout(cameras: Cameras, channels: Sequence[str], *, predicted: bool) -> Any:
    """The blueprint of a recording.

    Args:
        cameras: Calibration of its first key frame, which says where each camera looks.
        channels: Their names.
        predicted: There are predictions beside the labels.
    """
    import rerun.blueprint as view

    rows = [view.Horizontal(*(_camera(channels[camera]) for camera in row)) for row in natural_rows(cameras)]
    above = [_from_above(name) for name in ("labels", "predicted")[: 1 + predicted]]
    return view.Blueprint(
        view.Vertical(*rows, view.Horizontal(_street(), *above), row_shares=(*(1 for _ in rows), 2)),
        view.BlueprintPanel(state="collapsed"),
        view.SelectionPanel(state="collapsed"),
        view.TimePanel(timeline="time", state="collapsed"),
    )


def _street() -> Any:
    """What is around the car, seen from behind and above it."""
    import rerun.blueprint as view

    eye = view.EyeControls3D(position=BEHIND_M, look_target=(8.0, 0.0, 0.0), eye_up=(0.0, 0.0, 1.0))
    return view.Spatial3DView(origin=EGO, contents=STREET, name="street", eye_controls=eye)


def _from_above(name: str) -> Any:
    """Labels or predictions with the boxes, the car's front up."""
    import rerun.blueprint as view

    eye = view.EyeControls3D(position=ABOVE_M, look_target=(0.0, 0.0, 0.0), eye_up=(1.0, 0.0, 0.0))
    contents = (f"{EGO}/{name}/**", f"{EGO}/boxes")
    return view.Spatial3DView(origin=EGO, contents=contents, name=name, eye_controls=eye)


def _camera(channel: str) -> Any:
    """An image with returns and boxes on it."""
    import rerun.blueprint as view

    contents = ("$origin/**", f"{EGO}/lidar", f"{EGO}/boxes")
    return view.Spatial2DView(origin=f"{EGO}/cameras/{channel}", contents=contents, name=channel)
