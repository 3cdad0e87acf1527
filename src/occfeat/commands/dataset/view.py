"""`occfeat view`: one key frame as a picture, or its scene as a recording."""

from collections.abc import Sequence

import numpy as np
import torch
from jaxtyping import UInt8
from torch import Tensor

from occfeat.commands.dataset.view_scene import record
from occfeat.commands.outcome import Outcome
from occfeat.data.dataset import ImageReader, KeyFrames
from occfeat.data.index.index import Index
from occfeat.data.keyframe import CameraRecord, KeyFrame
from occfeat.data.sample.contents import Contents
from occfeat.data.source.paths import resolve
from occfeat.data.sweeps.by_time import read_by_time
from occfeat.errors import KeyFrameError, RunError, SettingsError
from occfeat.geometry.grid import build_grid
from occfeat.machine.atomic import write_atomic
from occfeat.machine.extras import require_extra
from occfeat.report.pictures.plots import draw_calibration
from occfeat.report.viewer import write_recording
from occfeat.segmentation.task import labels_of
from occfeat.settings.commands import ViewerConfig


def view(config: ViewerConfig) -> Outcome:
    """Draw a key frame's images and BEV labels; with `calibration`, also LiDAR and boxes on the images.

    A key frame without a LiDAR file is drawn without points, and images without a file are black. For a file
    that ends in `.rrd` the whole scene of the key frame is recorded.

    Raises:
        OccFeatError: The key frame does not exist or cannot be read, or the output file exists.
    """
    if config.out.exists():
        raise RunError(f"{config.out} exists already.", hint="Choose another --out.")
    if config.out.suffix not in (".png", ".rrd"):
        hint = "Choose an --out that ends in .png for a picture, or in .rrd for a recording."
        raise SettingsError(f"Expected an --out that ends in .png or .rrd, got {config.out}.", hint=hint)
    index = Index.open(config.source)
    row = index.row_of(config.token) if config.token else int(index.rows("all")[0])
    if config.out.suffix == ".rrd":
        return _record(config, index, row)
    if config.run is not None or config.pretraining is not None:
        hint = "Choose an --out that ends in .rrd; `occfeat predict` draws predictions."
        raise SettingsError("Only recordings show runs, got an --out that ends in .png.", hint=hint)
    grid = build_grid(config.grid)
    key_frame = index.key_frame(row)
    has_lidar = config.calibration and index.has_lidar_file(row)
    contents = Contents(points=has_lidar, classes=config.classes)
    key_frames = KeyFrames(index, config.view, contents, grid=grid)
    if missing := _missing_images(index, key_frame, key_frames.channels):
        key_frames = KeyFrames(index, config.view, contents, grid=grid, effect=_black_without_file)
    sample = key_frames.sample(row)
    points_ego, after_s = None if sample.points is None else sample.points.points_ego, None
    if has_lidar and config.window_s:
        points_ego, after_s = read_by_time(index, config.view, row, config.window_s)
    corners_ego = key_frame.boxes.corners_ego().float()
    draw_calibration(
        config.out,
        sample.images,
        sample.cameras,
        key_frames.channels,
        points_ego,
        corners_ego if config.calibration else corners_ego[:0],
        key_frame.boxes.category if config.calibration else (),
        labels_of(sample),
        grid.bev,
        after_s=after_s,
        title=f"{key_frame.scene}  {key_frame.token}",
    )
    what = f"{key_frame.token} of {key_frame.scene}, {len(key_frame.boxes)} boxes"
    black = [f"Black, because the images are missing: {', '.join(missing)}"] if missing else []
    absent = [f"Left out: {message}" for message in sample.lost_images]
    return Outcome("\n".join([what, *black, *absent, str(config.out)]))


def _missing_images(index: Index, key_frame: KeyFrame, channels: Sequence[str]) -> list[str]:
    """Return the cameras whose images have records and no files."""
    records = [camera for camera in key_frame.cameras if camera.channel in channels]
    return [one.channel for one in records if not resolve(index.root, one.path).is_file()]


def _black_without_file(
    read: ImageReader, camera: CameraRecord, token: str, epoch: int
) -> UInt8[Tensor, "3 _ _"]:
    """Return the image of a camera, or a black one if its file is missing or damaged."""
    try:
        return read()
    except KeyFrameError:
        return torch.zeros(3, *camera.size, dtype=torch.uint8)


def _record(config: ViewerConfig, index: Index, row: int) -> Outcome:
    """Write the scene of a key frame as a recording."""
    require_extra("viz", what="A recording", hint="Or choose an --out that ends in .png.")
    every = index.rows("all")
    scenes = index.scene_of(every)
    name = str(index.scene_of(np.array([row]))[0])
    rows = every[scenes == name]
    moments = record(config, index, rows)
    write_atomic(config.out, lambda temporary: write_recording(temporary, moments, name))
    return Outcome(f"{len(rows)} key frames of {name}; open it with `rerun {config.out}`\n{config.out}")
