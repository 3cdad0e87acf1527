"""The plots of a run: calibration, prediction, occupancy with features, and training curves.

Axes: `N` cameras, `P` points, `n` boxes, `K` occupied voxels, `F` feature channels, `X Y Z` voxels.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path

from jaxtyping import Bool, Float, Int64, UInt8
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Normalize
from matplotlib.figure import Figure, SubFigure
from torch import Tensor

from occfeat.data.sample.cameras import Cameras
from occfeat.data.sample.sample import Labels
from occfeat.errors import RunError
from occfeat.geometry.grid import BevGrid, VoxelGrid
from occfeat.report.pictures import bev, camera_images
from occfeat.report.pictures.palette import CLASS_COLORS, HEIGHT_COLORS, PROBABILITY_COLORS
from occfeat.report.pictures.topdown import colors_from_above, common_colors, height_from_above
from occfeat.runs.metrics_log import FACTORS
from occfeat.training.overlap import THRESHOLD, is_likely

DOTS_PER_INCH = 140
PANEL_IN = 4.4
"""Width of one image in inches."""


def draw_calibration(
    path: Path,
    images: UInt8[Tensor, "N 3 H W"],
    cameras: Cameras,
    channels: Sequence[str],
    points_ego: Float[Tensor, "P 3"] | None,
    corners_ego: Float[Tensor, "n 8 3"],
    categories: Sequence[str],
    labels: Labels,
    grid: BevGrid,
    *,
    after_s: Float[Tensor, " P"] | None = None,
    title: str = "",
) -> None:
    """Draw LiDAR points and boxes on the images, and the BEV labels beside them.

    With a correct calibration, points lie on their objects and boxes enclose them.

    Args:
        path: PNG file to write.
        images: RGB images of one key frame.
        cameras: Their calibration.
        channels: Their names.
        points_ego: LiDAR returns in metres; None to draw none.
        corners_ego: Corners of annotated boxes: four of the bottom, front ones first, then those above.
        categories: Category of each box, such as `vehicle.car`.
        labels: BEV labels of the key frame, with cells of low visibility hatched.
        grid: Extent of the labels.
        after_s: Time of each return after the key frame, which colours it; None to colour it by distance.
        title: Written above everything.
    """
    figure, left, right = _images_and_bev(images, cameras, bev_panels=1, title=title)
    farthest_m = max(map(abs, (*grid.lower_m, *grid.upper_m)))
    colors = None
    if points_ego is not None:
        colors = (
            camera_images.by_distance(points_ego, farthest_m)
            if after_s is None
            else camera_images.by_time(after_s)
        )
    panels = camera_images.show_images(left, images, cameras, channels)
    for camera, axes in panels.items():
        if not cameras.present[camera]:
            continue
        if points_ego is not None and colors is not None:
            camera_images.draw_points(axes, points_ego, cameras, camera, colors)
        camera_images.draw_boxes(axes, corners_ego, categories, cameras, camera)
    axes = right.subplots()
    bev.bev_axes(axes, grid, "BEV labels" if points_ego is None else "BEV labels and LiDAR")
    bev.show_classes(axes, labels.target, labels.classes, grid)
    bev.hatch(axes, labels.low_visibility.any(dim=0), grid, "visibility 0-40 %")
    if points_ego is not None and colors is not None:
        x, y, _ = points_ego.unbind(-1)
        axes.scatter(y.numpy(), x.numpy(), s=0.3, color="black", alpha=0.35, linewidths=0)
        scale = ScalarMappable(Normalize(*colors.limits), colors.colors)
        right.colorbar(scale, ax=axes, location="bottom", shrink=0.6, label=colors.label)
    bev.legend(axes)
    save_figure(figure, path)


def draw_prediction(
    path: Path,
    images: UInt8[Tensor, "N 3 H W"],
    cameras: Cameras,
    channels: Sequence[str],
    probability: Float[Tensor, "X Y"],
    grid: BevGrid,
    *,
    target: Bool[Tensor, "X Y"] | None = None,
    low_visibility: Bool[Tensor, "X Y"] | None = None,
    class_name: str = "vehicle",
    title: str = "",
) -> None:
    """Draw the images beside the predicted BEV, and the true one where it is known.

    Args:
        path: PNG file to write.
        images: RGB images of one key frame.
        cameras: Their calibration, which decides the position of each image.
        channels: Their names.
        probability: Predicted probability of the class, with a line at 0.5.
        grid: Extent of the cells.
        target: Cells that truly hold the class.
        low_visibility: Cells hatched in the true BEV.
        class_name: Name of the class.
        title: Written above everything.
    """
    figure, left, right = _images_and_bev(images, cameras, bev_panels=1 if target is None else 2, title=title)
    camera_images.show_images(left, images, cameras, channels)
    panels = right.subplots(1, 1 if target is None else 2, squeeze=False)[0]
    if target is not None:
        bev.bev_axes(panels[0], grid, "true")
        bev.show_classes(panels[0], target[None], (class_name,), grid)
        if low_visibility is not None:
            bev.hatch(panels[0], low_visibility, grid, "visibility 0-40 %")
        bev.legend(panels[0])
    bev.bev_axes(panels[-1], grid, "predicted")
    shown = bev.show_cells(
        panels[-1], probability.numpy(), grid, colors=PROBABILITY_COLORS, limits=(0.0, 1.0)
    )
    bev.outline(panels[-1], probability, THRESHOLD, grid)
    right.colorbar(shown, ax=panels, location="bottom", shrink=0.5, label=f"probability of {class_name}")
    save_figure(figure, path)


def draw_occupancy(
    path: Path,
    probability: Float[Tensor, "X Y Z"] | None,
    occupied: Bool[Tensor, "X Y Z"],
    grid: VoxelGrid,
    *,
    cells: Int64[Tensor, "K 3"] | None = None,
    teacher_features: Float[Tensor, "K F"] | None = None,
    predicted_features: Float[Tensor, "K F"] | None = None,
    title: str = "",
) -> None:
    """Draw true and predicted occupancy seen from above, and the features of occupied voxels below.

    Args:
        path: PNG file to write.
        probability: Predicted probability that each voxel is occupied; above 0.5 it is drawn. None: only the
            truth is drawn.
        occupied: The occupancy target.
        grid: Extent of the voxels.
        cells: Voxels (x, y, z) whose features are drawn.
        teacher_features: Feature target of these voxels.
        predicted_features: Features the student predicts there, in the teacher's colour basis.
        title: Written above everything.
    """
    with_features = cells is not None and len(cells) > 2  # fewer have no three principal components
    rows = 2 if with_features else 1
    figure = Figure(figsize=(2 * PANEL_IN + 1, rows * PANEL_IN + 0.5), layout="constrained")
    figure.suptitle(title, fontsize=11)
    panels = figure.subplots(rows, 2, squeeze=False)
    limits = (grid.lower_m[2], grid.upper_m[2])
    drawn = {"true": occupied}
    if probability is not None:
        drawn["predicted"] = is_likely(probability)
    panels[0, 1].set_visible(len(drawn) == 2)
    for axes, (name, voxels) in zip(panels[0], drawn.items(), strict=False):
        bev.bev_axes(axes, grid.bev, f"{name} occupancy")
        height_m = height_from_above(voxels, grid)
        shown = bev.show_cells(axes, height_m, grid.bev, colors=HEIGHT_COLORS, limits=limits)
    figure.colorbar(shown, ax=list(panels[0]), shrink=0.8, label="height of the highest voxel, m")
    if (
        with_features
        and cells is not None
        and teacher_features is not None
        and predicted_features is not None
    ):
        colors = common_colors(teacher_features, predicted_features)
        for axes, rgb, name in zip(panels[1], colors, ("teacher", "predicted"), strict=True):
            bev.bev_axes(axes, grid.bev, f"{name} features (one PCA basis)")
            bev.show_cells(axes, colors_from_above(cells, rgb, grid.bev.shape), grid.bev)
    save_figure(figure, path)


def draw_curves(path: Path, rows: Sequence[Mapping[str, float | int | None]], *, title: str = "") -> None:
    """Plot every metric of `metrics.jsonl` over the steps, each in a panel of its own.

    Args:
        path: PNG file to write.
        rows: Rows of the file: `step`, and metrics by name. Missing ones and None leave gaps.
        title: Written above everything.
    """
    names = sorted({name for row in rows for name in row} - {"step"})
    columns = min(4, max(1, len(names)))
    lines = max(1, -(-len(names) // columns))
    figure = Figure(figsize=(3.4 * columns, 2.4 * lines + 0.4), layout="constrained")
    figure.suptitle(title, fontsize=11)
    panels = figure.subplots(lines, columns, squeeze=False).flatten()
    for axes, name in zip(panels, names, strict=False):
        points = [(row["step"], row[name]) for row in rows if row.get(name) is not None]
        steps, values = zip(*points, strict=True) if points else ((), ())
        axes.plot(steps, values, color=CLASS_COLORS["pedestrian"], marker="." if len(points) < 20 else None)
        if name.startswith(FACTORS) and any(value > 0 for value in values):
            axes.set_yscale("log")
        axes.set_title(name, fontsize=9)
        axes.set_xlabel("step", fontsize=8)
        axes.tick_params(labelsize=7)
        axes.grid(alpha=0.3)
    for axes in panels[len(names) :]:
        axes.set_axis_off()
    save_figure(figure, path)


def _images_and_bev(
    images: UInt8[Tensor, "N 3 H W"], cameras: Cameras, *, bev_panels: int, title: str
) -> tuple[Figure, SubFigure, SubFigure]:
    """Make an empty figure with room for the images on the left and BEV panels on the right."""
    rows = camera_images.natural_rows(cameras)
    height_px, width_px = cameras.image_size
    images_in = PANEL_IN * max(map(len, rows))
    height_in = max(PANEL_IN * len(rows) * height_px / width_px + 0.8, PANEL_IN + 1)
    # Square panels: 1.5 inches are for the title above, and for legend and colour bar below.
    bev_in = bev_panels * (height_in - 1.5)
    figure = Figure(figsize=(images_in + bev_in, height_in), layout="constrained")
    figure.suptitle(title, fontsize=11)
    halves = figure.add_gridspec(1, 2, width_ratios=(images_in, bev_in))
    return figure, figure.add_subfigure(halves[0]), figure.add_subfigure(halves[1])


def save_figure(figure: Figure, path: Path) -> None:
    """Write a figure as PNG; its folder is made if it is missing.

    Raises:
        RunError: It cannot be written.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        figure.savefig(path, dpi=DOTS_PER_INCH)
    except OSError as error:
        raise RunError(f"The picture {path} cannot be written: {error.strerror or error}.") from error
