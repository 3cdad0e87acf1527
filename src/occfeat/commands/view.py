"""`occfeat view`: one key frame as a picture."""

from occfeat.commands.config import ViewerConfig
from occfeat.commands.outcome import Outcome
from occfeat.data.dataset import Draw, KeyFrames
from occfeat.data.index import Index
from occfeat.data.sample import Sample
from occfeat.engine.export import build_grid
from occfeat.errors import KeyFrameError, RunError
from occfeat.report.figures import draw_calibration


def view(config: ViewerConfig) -> Outcome:
    """Draw a key frame's images and BEV labels; with `calibration`, LiDAR and boxes on the images too.

    A key frame without a LiDAR file is drawn without points.

    Raises:
        OccFeatError: The key frame does not exist or cannot be read, or the picture exists already.
    """
    if config.out.exists():
        raise RunError(f"{config.out} exists already.", hint="Choose another --out.")
    index = Index.open(config.source)
    row = index.row_of(config.token) if config.token else int(index.rows("all")[0])
    grid = build_grid(config.grid)
    key_frame = index.key_frame(row)
    has_lidar = config.calibration and index.has_lidar_file(row)
    key_frames = KeyFrames(
        index, config.view, grid=grid, augment=None, points=has_lidar, classes=config.classes
    )
    sample = key_frames[Draw(row, 0)]
    if not isinstance(sample, Sample) or sample.labels is None:
        raise KeyFrameError(sample.message if not isinstance(sample, Sample) else "no labels")
    corners_ego = key_frame.boxes.corners_ego().float()
    draw_calibration(
        config.out,
        sample.images,
        sample.cameras,
        key_frames.channels,
        sample.points_ego,
        corners_ego if config.calibration else corners_ego[:0],
        key_frame.boxes.category if config.calibration else (),
        sample.labels,
        grid.bev,
        title=f"{key_frame.scene}  {key_frame.token}",
    )
    return Outcome(f"{key_frame.token} of {key_frame.scene}, {len(key_frame.boxes)} boxes\n{config.out}")
