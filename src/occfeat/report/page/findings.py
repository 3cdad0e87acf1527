"""Further sections of a report: how robust runs are, and what their features mean."""

from collections.abc import Iterator, Mapping, Sequence

from occfeat.report.page.charts import radar
from occfeat.report.page.groups import Group, Spread, spreads
from occfeat.report.page.page import Part, Picture, Section, Table
from occfeat.report.page.runs import AnalysisResults, Metrics, RunFiles
from occfeat.report.page.sections import SPREAD, shown
from occfeat.report.pictures.embedded import figure_uri
from occfeat.segmentation.robustness.results import RobustnessResults

SPOKES = 3
"""Fewer corruptions than this make no radar."""
PICTURES = {
    "features": "Features, those of teacher and student in one basis: equal colours are equal features",
    "similarity": "How much every voxel resembles the marked one",
    "probe": "Area under the ROC curve of a linear probe, each class against all others",
    "clusters": "Clusters of k-means against the classes",
    "cosine_by_class": "Mean cosine of student and teacher, by class",
    "cosine_by_distance": "Mean cosine of student and teacher, by distance in metres",
    "occupancy": "Occupancy in rings around the car, by distance in metres",
}
"""Pictures of an analysis and what they show."""


def how_robust(groups: Sequence[Group]) -> Iterator[Section]:
    """IoU under corruptions as radar and tables, for each way it was evaluated."""
    ways = dict.fromkeys(
        _way(one) for group in groups for run in group.runs for one in run.robustness if one.corrupted
    )
    for way in ways:
        split, images, seed, _, names = way
        results = [(group, [_robust(run, way) for run in group.runs]) for group in groups]
        metrics = dict.fromkeys(
            metric for _, found in results for one in found if one for metric in one.scores
        )
        of_seed = f", seed {seed}" if images == "generated" else ""
        words = [
            f"{len(names)} corruptions, {images} images{of_seed}. RR, the resilience rate, is the IoU "
            "relative to clean images; CE, the corruption error, is 1 - IoU relative to a baseline."
        ]
        parts = [part for metric in metrics for part in _robust_parts(metric, results, names)]
        yield Section(f"Robustness on {split}", words, parts)


def _way(one: RobustnessResults) -> tuple[str, str, int, str, tuple[str, ...]]:
    """What must be the same, so that two results can stand side by side."""
    return one.split, one.images, one.seed, one.data_fingerprint, tuple(one.corrupted)


def _robust(run: RunFiles, way: tuple[object, ...]) -> RobustnessResults | None:
    return next((one for one in run.robustness if _way(one) == way), None)


def _robust_parts(
    metric: str, results: Sequence[tuple[Group, Sequence[RobustnessResults | None]]], names: Sequence[str]
) -> list[Part]:
    """Radar, a table of the corruptions and one of their kinds."""
    iou, kinds = {}, {}
    for group, found in results:
        scores = [one.scores.get(metric) if one else None for one in found]
        clean = [{"clean": one.clean.get(metric)} if one else {} for one in found]
        each: list[Metrics] = [
            {n: one.iou for n, one in s.by_corruption.items()} if s else {} for s in scores
        ]
        overall: list[Metrics] = [
            {"mRR": s.mean.resilience_rate, "mCE": s.mean.corruption_error} if s else {} for s in scores
        ]
        rates = [{k: one.resilience_rate for k, one in s.by_kind.items()} if s else {} for s in scores]
        joined: list[Metrics] = [{**a, **b, **c} for a, b, c in zip(clean, each, overall, strict=True)]
        if metrics := spreads(group, joined):
            iou[group.name], kinds[group.name] = metrics, spreads(group, rates)
    parts: list[Part] = []
    if len(names) >= SPOKES:
        spokes = {g: {n: metrics[n] for n in names if n in metrics} for g, metrics in iou.items()}
        spokes = {group: metrics for group, metrics in spokes.items() if len(metrics) == len(names)}
        if spokes:
            order = [group.name for group, _ in results]
            caption = f"{metric}: IoU under each corruption, mean over its severities"
            parts.append(radar(spokes, order, caption))
    lines = ["clean", *names, "mRR", "mCE"]
    parts.append(turned_table(iou, lines, f"{metric}: IoU, mean over the severities. {SPREAD}"))
    of_kinds = list(dict.fromkeys(kind for metrics in kinds.values() for kind in metrics))
    parts.append(turned_table(kinds, of_kinds, f"{metric}: resilience rate by kind of corruption."))
    return parts


def what_it_means(groups: Sequence[Group]) -> Iterator[Section]:
    """Metrics and pictures of each analysis."""
    for run in (run for group in groups for run in group.runs):
        for folder, results in run.analyses:
            voxels = sum(results.voxels.values())
            words = [f"{voxels} voxels of {results.key_frames} key frames of {results.split}."]
            pictures = [
                Picture(figure_uri(folder / f"{name}.png"), caption)
                for name, caption in PICTURES.items()
                if (folder / f"{name}.png").is_file()
            ]
            yield Section(f"What the features of {run.name} mean", words, [*_analysed(results), *pictures])


def _analysed(results: AnalysisResults) -> Iterator[Table]:
    cosine = "Mean cosine of student and teacher" + (", centred" if results.centered else "")
    for metrics, caption in (
        (results.probe_auc, "Linear probe: area under the ROC curve"),
        (results.clusters, "Clusters of k-means against the classes"),
        ({"cosine": results.cosine_by_class}, f"{cosine}, by class"),
        ({"cosine": results.cosine_by_distance}, f"{cosine}, by distance in metres"),
        (results.occupancy_by_distance, "Occupancy by distance in metres"),
    ):
        names = list(dict.fromkeys(name for row in metrics.values() for name in row))
        rows = [[who, *(shown(row.get(name)) for name in names)] for who, row in metrics.items()]
        if names:  # what was not learned has none
            yield Table(["", *names], rows, caption)


def turned_table(metrics: Mapping[str, Mapping[str, Spread]], names: Sequence[str], caption: str) -> Table:
    """A row for each metric, for there are many, and a column for each group."""
    rows = [
        [name, *(str(row.get(name, "-")) for row in metrics.values())]
        for name in names
        if any(name in row for row in metrics.values())
    ]
    return Table(["", *metrics], rows, caption)
