"""`occfeat view`: one key frame as a picture, or its scene as a recording."""

import numpy as np

from occfeat.atomic import write_atomic
from occfeat.commands.dataset.recording import record
from occfeat.commands.outcome import Outcome
from occfeat.data.dataset import KeyFrames
from occfeat.data.index.index import Index
from occfeat.data.sample import Contents
from occfeat.errors import RunError, SettingsError
from occfeat.geometry.grid import build_grid
from occfeat.report.pictures.plots import draw_calibration
from occfeat.report.recording import write_recording
from occfeat.segmentation.task import labels_of
from occfeat.settings.commands import ViewerConfig
from occfeat.settings.extras import require_extra


def view(config: ViewerConfig) -> Outcome:
    """Draw a key frame's images and BEV labels; with `calibration`, also LiDAR and boxes on the images.

    A key frame without a LiDAR file is drawn without points. For a file that ends in `.rrd` the whole scene
    of the key frame is recorded.

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
    sample = key_frames.sample(row)
    corners_ego = key_frame.boxes.corners_ego().float()
    draw_calibration(
        config.out,
        sample.images,
        sample.cameras,
        key_frames.channels,
        None if sample.points is None else sample.points.points_ego,
        corners_ego if config.calibration else corners_ego[:0],
        key_frame.boxes.category if config.calibration else (),
        labels_of(sample),
        grid.bev,
        title=f"{key_frame.scene}  {key_frame.token}",
    )
    return Outcome(f"{key_frame.token} of {key_frame.scene}, {len(key_frame.boxes)} boxes\n{config.out}")


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
