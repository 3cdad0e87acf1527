"""Recordings for the viewer of rerun: a scene over time, with sensors, labels and predictions.

Entities: `world` is the ego frame of the first key frame, `world/ego` the ego vehicle, and all else is below.
The viewer shows the cameras above, and below them the street and the BEV of labels and predictions. It knows
pinholes alone. The image of any other camera has points and boxes drawn on it here, and no frustum.

Axes: `N` cameras, `P` points, `K` voxels or cells, `C` classes, `X Y` BEV cells.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, UInt8
from matplotlib import colormaps
from matplotlib.colors import to_rgb
from torch import Tensor

from occfeat.data.keyframe import Boxes, KeyFrame
from occfeat.data.sample.cameras import Cameras
from occfeat.geometry.camera import visible_in
from occfeat.geometry.frames import invert
from occfeat.geometry.grid import BevGrid
from occfeat.geometry.lens import PINHOLE
from occfeat.report.pictures.camera_images import EDGES, lines_of, natural_rows, pixels_of
from occfeat.report.pictures.palette import DISTANCE_COLORS, TIME_COLORS, color_of

BOX_PATH = (0, 1, 5, 1, 2, 6, 2, 3, 7, 3, 0, 4, 5, 6, 7, 4)
"""Corners of a box in an order that draws all its edges in one go."""
FARTHEST_M = 60.0
"""Distance at which the colours of LiDAR returns end."""
SHOWN_FROM = 0.3
"""Probability below which a cell is not drawn."""
THIN = -1.0
"""Radius of returns and of the edges of boxes: rerun takes a negative one in points of the screen."""
LATEST_US = 9 * 10**15
"""Microseconds from 1970 to the latest time of rerun's calendar, in 2255."""
FRUSTUM_M = 2.0
"""Distance of an image from its camera, in metres."""
EGO = "/world/ego"
"""Entity of the ego vehicle; sensors, labels and predictions are below it."""
STREET = (f"{EGO}/cameras/**", f"{EGO}/voxels", f"{EGO}/boxes")
"""What the view of the street shows beside LiDAR returns."""
BEHIND_M, ABOVE_M = (-22.0, 0.0, 16.0), (0.0, 0.0, 110.0)
"""Viewpoints in the ego frame: of the street, and of the BEV layers."""


@dataclass(frozen=True)
class Voxels:
    """Occupied voxels."""

    centers_ego: Float[Tensor, "K 3"]
    size_m: tuple[float, float, float]
    colors: Float[Tensor, "K 3"]
    """Red, green and blue, 0 to 1."""


@dataclass(frozen=True)
class BevLayers:
    """One value per class and cell, 0 to 1: labels or predicted probabilities."""

    classes: tuple[str, ...]
    values: Float[Tensor, "C X Y"]
    grid: BevGrid


@dataclass(frozen=True)
class TimedPoints:
    """LiDAR returns of all sweeps within some time of a key frame."""

    points_ego: Float[Tensor, "P 3"]
    after_s: Float[Tensor, " P"]
    """Time of each return after the key frame."""
    window_s: float
    """Time at which the colours end, before and after the key frame."""


@dataclass(frozen=True)
class Moment:
    """All that a recording shows of one key frame."""

    key_frame: KeyFrame
    images: UInt8[Tensor, "N 3 H W"]
    cameras: Cameras
    channels: tuple[str, ...]
    points_ego: Float[Tensor, "P 3"] | None
    voxels: Voxels | None
    labels: BevLayers
    predicted: BevLayers | None
    window: TimedPoints | None = None
    """Shown in place of `points_ego`, which are recorded, too."""


def write_recording(path: Path, moments: Iterable[Moment], name: str) -> int:
    """Write a recording, without a viewer and without a display.

    Args:
        path: The `.rrd` file.
        moments: Key frames in their order.
        name: Name that the viewer shows.

    Returns:
        The number of key frames.
    """
    import rerun

    stream = rerun.RecordingStream("occfeat", recording_id=name)
    stream.save(path)
    stream.log("world", rerun.ViewCoordinates.RIGHT_HAND_Z_UP, static=True)
    first_from_global, count, first_us = None, 0, 0
    for moment in moments:
        if first_from_global is None:
            first_from_global = invert(moment.key_frame.global_from_ego)
            first_us = moment.key_frame.timestamp_us
            shows = {"predicted": moment.predicted is not None, "window": moment.window is not None}
            stream.send_blueprint(layout(moment.cameras, moment.channels, **shows))
        stream.set_time("key_frame", sequence=count)
        _set_time(stream, moment.key_frame.timestamp_us, first_us)
        _log_moment(stream, moment, first_from_global @ moment.key_frame.global_from_ego)
        count += 1
    stream.flush()
    stream.disconnect()
    return count


def _set_time(stream: Any, time_us: int, first_us: int) -> None:
    """Set the time of what follows: since 1970, or since the first key frame if no calendar has its time."""
    if abs(first_us) < LATEST_US:
        stream.set_time("time", timestamp=np.datetime64(time_us, "us"))
    else:
        stream.set_time("time", duration=1e-6 * (time_us - first_us))


def _log_moment(stream: Any, moment: Moment, world_from_ego: Float[Tensor, "4 4"]) -> None:
    """Log one key frame."""
    import rerun

    stream.log("world/ego", _transform(world_from_ego))
    _log_cameras(stream, moment)
    for name, (points_ego, colors) in _colored(moment).items():
        stream.log(f"world/ego/{name}", rerun.Points3D(points_ego.numpy(), colors=colors, radii=THIN))
    if moment.voxels is not None:
        _log_voxels(stream, moment.voxels)
    _log_boxes(stream, moment.key_frame.boxes)
    _log_layers(stream, "labels", moment.labels, height_m=0.0)
    if moment.predicted is not None:
        _log_layers(stream, "predicted", moment.predicted, height_m=0.2)


def _transform(parent_from_child: Float[Tensor, "4 4"]) -> Any:
    """Return rerun's transform of a pose."""
    import rerun

    matrix = parent_from_child.double().numpy()
    return rerun.Transform3D(translation=matrix[:3, 3], mat3x3=matrix[:3, :3])


def _log_cameras(stream: Any, moment: Moment) -> None:
    """Log frusta with their images; clear a camera that is missing in the key frame."""
    import rerun

    height, width = moment.cameras.image_size
    for camera, channel in enumerate(moment.channels):
        entity = f"world/ego/cameras/{channel}"
        if not moment.cameras.present[camera]:
            stream.log(entity, rerun.Clear(recursive=True))
            continue
        stream.log(entity, _transform(moment.cameras.ego_from_camera[camera]))
        pixels = moment.images[camera].permute(1, 2, 0).contiguous().numpy()
        stream.log(f"{entity}/image", rerun.Image(pixels).compress(jpeg_quality=85))
        if _has_lens(moment.cameras, camera):
            _log_through_lens(stream, moment, camera, entity)
            continue
        matrix, size = moment.cameras.intrinsics[camera].double().numpy(), (width, height)
        stream.log(
            entity,
            rerun.Pinhole(image_from_camera=matrix, resolution=size, image_plane_distance=FRUSTUM_M),
        )


def _has_lens(cameras: Cameras, camera: int) -> bool:
    """Return whether a camera is not a pinhole."""
    return (
        cameras.lenses is not None
        and cameras.lenses[camera].tolist() != torch.tensor(PINHOLE.numbers()).to(cameras.lenses).tolist()
    )


def _log_through_lens(stream: Any, moment: Moment, camera: int, entity: str) -> None:
    """Log points and boxes where a camera with a lens sees them."""
    import rerun

    boxes = moment.key_frame.boxes
    for name, (points_ego, by_point) in _colored(moment).items():
        pixels, depth_m = pixels_of(points_ego, moment.cameras, camera)
        seen = visible_in(moment.cameras.image_size, pixels, depth_m)
        drawn = rerun.Points2D(pixels[seen].numpy(), colors=by_point[seen.numpy()], radii=THIN)
        stream.log(f"{entity}/{name}", drawn)
    strips, colors = [], []
    for corners_ego, category in zip(boxes.corners_ego().float(), boxes.category, strict=True):
        lines = lines_of(corners_ego[torch.tensor(EDGES)], moment.cameras, camera)
        strips += [line for _, line in lines]
        colors += [to_rgb(color_of(category))] * len(lines)
    stream.log(f"{entity}/boxes", rerun.LineStrips2D(strips, colors=colors, radii=THIN))


def _colored(moment: Moment) -> dict[str, tuple[Float[Tensor, "P 3"], UInt8[np.ndarray, "P 3"]]]:
    """Return LiDAR points with their colours, by entity: by distance, and those of a window by time."""
    found = {}
    if (points_ego := moment.points_ego) is not None:
        found["lidar"] = points_ego, _colors(points_ego.norm(dim=1) / FARTHEST_M, DISTANCE_COLORS)
    if (window := moment.window) is not None:
        share = (window.after_s / window.window_s + 1) / 2
        found["window"] = window.points_ego, _colors(share, TIME_COLORS)
    return found


def _colors(share: Float[Tensor, " P"], color_map: str) -> UInt8[np.ndarray, "P 3"]:
    """Return the colour of each share, those outside of 0 to 1 as its ends."""
    colors: np.ndarray = (255 * colormaps[color_map](share.clamp(0, 1).numpy())[:, :3]).astype(np.uint8)
    return colors


def _log_voxels(stream: Any, voxels: Voxels) -> None:
    """Log occupied voxels as solid boxes."""
    import rerun

    half = np.tile(np.array(voxels.size_m) / 2, (len(voxels.centers_ego), 1))
    colors = (255 * voxels.colors).byte().numpy()
    boxes = rerun.Boxes3D(
        centers=voxels.centers_ego.numpy(), half_sizes=half, colors=colors, fill_mode="solid"
    )
    stream.log("world/ego/voxels", boxes)


def _log_boxes(stream: Any, boxes: Boxes) -> None:
    """Log annotated boxes as wireframes in the colour of their class."""
    import rerun

    colors = [to_rgb(color_of(category)) for category in boxes.category]
    strips = boxes.corners_ego()[:, list(BOX_PATH)].float().numpy()
    stream.log(
        "world/ego/boxes",
        rerun.LineStrips3D(list(strips), colors=colors, radii=THIN, labels=boxes.category, show_labels=False),
    )


def _log_layers(stream: Any, name: str, layers: BevLayers, height_m: float) -> None:
    """Log cells as squares of the class's colour, fainter for smaller values."""
    import rerun

    centers = layers.grid.centers()
    for class_name, values in zip(layers.classes, layers.values, strict=True):
        shown = values >= SHOWN_FROM
        flat = torch.nn.functional.pad(centers[shown], (0, 1), value=height_m)
        rgb = torch.tensor(to_rgb(color_of(class_name))).expand(len(flat), 3)
        colors = (255 * torch.cat((rgb, values[shown][:, None]), dim=1)).byte().numpy()
        half = np.tile((*(np.array(layers.grid.cell_m) / 2), 0.02), (len(flat), 1))
        boxes = rerun.Boxes3D(centers=flat.numpy(), half_sizes=half, colors=colors, fill_mode="solid")
        stream.log(f"world/ego/{name}/{class_name}", boxes)


def layout(cameras: Cameras, channels: Sequence[str], *, predicted: bool, window: bool = False) -> Any:
    """Return the blueprint of a recording: cameras above, the street and the BEV layers below.

    Args:
        cameras: Calibration of its first key frame, which decides the position of each image.
        channels: Their names.
        predicted: The recording holds predictions.
        window: It holds the sweeps of a window, which are shown in place of the key frame's own.
    """
    import rerun.blueprint as view

    returns = "window" if window else "lidar"
    rows = [
        view.Horizontal(
            *(_camera(channels[camera], returns, flat=_has_lens(cameras, camera)) for camera in row)
        )
        for row in natural_rows(cameras)
    ]
    above = [_from_above(name) for name in ("labels", "predicted")[: 1 + predicted]]
    return view.Blueprint(
        view.Vertical(*rows, view.Horizontal(_street(returns), *above), row_shares=(*(1 for _ in rows), 2)),
        view.BlueprintPanel(state="collapsed"),
        view.SelectionPanel(state="collapsed"),
        view.TimePanel(timeline="time", state="collapsed"),
    )


def _street(returns: str) -> Any:
    """Return the 3-D view of the surroundings, from behind and above the ego vehicle."""
    import rerun.blueprint as view

    eye = view.EyeControls3D(position=BEHIND_M, look_target=(8.0, 0.0, 0.0), eye_up=(0.0, 0.0, 1.0))
    contents = (*STREET, f"{EGO}/{returns}")
    return view.Spatial3DView(origin=EGO, contents=contents, name="street", eye_controls=eye)


def _from_above(name: str) -> Any:
    """Return the view from above of labels or predictions with the boxes; forward is up."""
    import rerun.blueprint as view

    eye = view.EyeControls3D(position=ABOVE_M, look_target=(0.0, 0.0, 0.0), eye_up=(1.0, 0.0, 0.0))
    contents = (f"{EGO}/{name}/**", f"{EGO}/boxes")
    return view.Spatial3DView(origin=EGO, contents=contents, name=name, eye_controls=eye)


def _camera(channel: str, returns: str, *, flat: bool) -> Any:
    """Return the view of an image with points and boxes on it, which a flat image brings itself."""
    import rerun.blueprint as view

    origin = f"{EGO}/cameras/{channel}"
    if flat:
        contents: tuple[str, ...] = (f"{origin}/image", f"{origin}/boxes", f"{origin}/{returns}")
    else:
        contents = ("$origin/**", f"{EGO}/{returns}", f"{EGO}/boxes")
    return view.Spatial2DView(origin=origin, contents=contents, name=channel)
