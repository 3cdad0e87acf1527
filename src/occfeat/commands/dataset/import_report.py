"""What follows an import: a check of the data set, a picture per camera, warnings and a summary."""

from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import torch

from occfeat.commands.outcome import Outcome
from occfeat.data.check.check import check
from occfeat.data.dataset import KeyFrames
from occfeat.data.index.index import Index
from occfeat.data.keyframe import CameraRecord
from occfeat.data.recordings.write import FOLDER, SceneResult
from occfeat.data.sample.contents import Contents
from occfeat.data.sample.sample import Sample
from occfeat.data.sweeps.points import read_points
from occfeat.errors import KeyFrameError
from occfeat.geometry.camera import visible_in
from occfeat.geometry.grid import VoxelGrid, build_grid
from occfeat.machine.atomic import write_text_atomic
from occfeat.report.pictures.camera_images import pixels_of
from occfeat.report.pictures.plots import draw_calibration
from occfeat.segmentation.task import labels_of
from occfeat.settings.commands import Classes
from occfeat.settings.sections import DataConfig, GridConfig, ViewConfig

PICTURE_WIDTH_PX = 1280
STEEPEST_DEG = 45.0
"""A camera that looks further down or up probably has a wrong transform (this project's choice)."""
NEAR_M, MANY = 2.0, 0.05
"""If a larger share of points is so near, it is probably of the car itself (this project's choice)."""
CLASSES: Classes = ("vehicle", "pedestrian")


def report_import(root: Path, results: Sequence[SceneResult], *, has_poses: bool) -> Outcome:
    """Check a data set that was imported, draw its calibration and write a summary.

    Args:
        root: The data folder.
        results: What became of each recording.
        has_poses: Whether the poses of all recordings are known.

    Returns:
        The summary, and exit code 2 if the check found problems.
    """
    data = DataConfig(root=root)
    report = check(data)
    warnings, pictures = _draw(Index.open(data), root / FOLDER)
    if not has_poses:
        warnings.append("Poses are not known: `view.sweeps` above 1 is refused, ego motion is not counted.")
    warnings += dict.fromkeys(sentence for result in results for sentence in result.damage)
    left_out = sum((Counter(result.left_out) for result in results), Counter[str]())
    empty = [result.name for result in results if not result.key_frames]
    scenes = len(results) - len(empty)
    lines = [
        f"{sum(result.key_frames for result in results)} key frames in {scenes} scene{'s' * (scenes != 1)}",
        *([f"Without a key frame: {', '.join(empty)}"] if empty else []),
        *(f"left out: {count} x {reason}" for reason, count in left_out.most_common()),
        *(f"Warning: {warning}" for warning in warnings),
        report.text(),
        f"Check that the points lie on what they come from: {', '.join(path.name for path in pictures)}",
    ]
    text = "\n".join(lines)
    write_text_atomic(root / FOLDER / "summary.txt", text + "\n")
    return Outcome(f"{text}\n{root / FOLDER}", exit_code=2 if report.problems else 0)


def _draw(index: Index, folder: Path) -> tuple[list[str], list[Path]]:
    """Draw the LiDAR on an image of each camera; return warnings and pictures."""
    warnings, pictures = [], []
    grid, rows = build_grid(GridConfig()), index.rows("all").tolist()
    middle_first = sorted(rows, key=lambda row: abs(row - rows[len(rows) // 2]))
    for channel in index.channels:
        for row in middle_first:
            cameras = [one for one in index.key_frame(row).cameras if one.channel == channel]
            sample = _sample(index, row, cameras[0], grid) if cameras else None
            if sample is None:
                continue
            path = folder / f"{channel}.png"
            _draw_one(path, sample, channel, grid)
            pictures.append(path)
            warnings += _warnings(sample, channel)
            break
    return warnings + _warnings_about_the_car(index, middle_first[0]), pictures


def _warnings_about_the_car(index: Index, row: int) -> list[str]:
    """Return whether many points of a key frame are so near that they are probably of the car."""
    if not index.has_lidar_file(row):
        return []
    try:
        points = read_points(index.source, index.key_frame(row).sweeps)
    except KeyFrameError:  # the check names it
        return []
    distance_m = (points.points_ego - points.origins_ego)[:, :2].norm(dim=1)
    share = float((distance_m < NEAR_M).float().mean()) if len(distance_m) else 0.0
    if share <= MANY:
        return []
    near = f"{100 * share:.0f} % of the LiDAR points are nearer than {NEAR_M:g} m to their LiDAR"
    return [f"{near}: if they are of the car, state its box or radius under `car` in the rig file."]


def _sample(index: Index, row: int, camera: CameraRecord, grid: VoxelGrid) -> Sample | None:
    """Read the image of one camera and the LiDAR of a key frame; None if they cannot be read."""
    height, width = camera.size
    size = (max(1, round(height * PICTURE_WIDTH_PX / width)), PICTURE_WIDTH_PX)
    view = ViewConfig(cameras=(camera.channel,), image_size=size, ego_radius_m=0)
    contents = Contents(points=index.has_lidar_file(row), classes=CLASSES)
    try:
        return KeyFrames(index, view, contents, grid=grid).sample(row)
    except KeyFrameError:
        return None


def _draw_one(path: Path, sample: Sample, channel: str, grid: VoxelGrid) -> None:
    """Draw one camera and the LiDAR."""
    points_ego = None if sample.points is None else sample.points.points_ego
    draw_calibration(
        path,
        sample.images,
        sample.cameras,
        (channel,),
        points_ego,
        torch.zeros(0, 8, 3),
        (),
        labels_of(sample),
        grid.bev,
        title=f"{channel}, key frame {sample.token}",
    )


def _warnings(sample: Sample, channel: str) -> list[str]:
    """Return what is suspicious about one camera."""
    axis_ego = sample.cameras.ego_from_camera[0, :3, 2]
    up_deg = float(torch.rad2deg(torch.asin(axis_ego[2].clamp(-1, 1))))
    warnings = []
    if abs(up_deg) > STEEPEST_DEG:
        where = "down to the ground" if up_deg < 0 else "up to the sky"
        warnings.append(
            f"{channel} looks {abs(up_deg):.0f} degrees {where}. Its frame is perhaps not the optical one "
            "(x right, y down, z forward): name that by `frame`, or state `ego_from_camera`."
        )
    if sample.points is not None:
        points_ego = sample.points.points_ego
        pixels, depth_m = pixels_of(points_ego, sample.cameras, 0)
        if len(points_ego) and not visible_in(sample.cameras.image_size, pixels, depth_m).any():
            warnings.append(f"No LiDAR point lies in the image of {channel}: its transform is perhaps wrong.")
    return warnings
