"""The sections of a report: what was run, how it learned, what came out, how robust it is, what it means."""

from collections.abc import Iterator, Mapping, Sequence

from occfeat.engine.run import settings_text
from occfeat.report.charts import Curve, bars, curves, radar
from occfeat.report.embedded import figure_uri
from occfeat.report.groups import Group, Spread, spreads
from occfeat.report.page import Folded, Part, Picture, Section, Table
from occfeat.report.runs import AnalysisResults, Figures, RobustnessResults, RunFiles

SPOKES = 3
"""Fewer corruptions than this make no radar."""
SPREAD = (
    "Runs that differ in seed or draw of labels alone form a group: mean, in brackets the least and the most."
)
PICTURES = {
    "features": "Features of teacher and student in one basis: equal colours are equal features",
    "similarity": "How much every voxel resembles the marked one",
    "probe": "Area under the ROC curve of a linear probe, each class against all others",
    "clusters": "Clusters of k-means against the classes",
    "cosine_by_class": "Mean cosine of student and teacher, by class",
    "cosine_by_distance": "Mean cosine of student and teacher, by distance in metres",
    "occupancy": "Occupancy in rings around the car, by distance in metres",
}
"""Pictures of an analysis and what they show."""


def what_was_run(groups: Sequence[Group]) -> Section:
    """A row for each run, and all its settings folded away."""
    headings = ["run", "group", "command", "started", "student", "data", "learned from", "labels", "epochs"]
    headings += ["seed", "time", "memory", "hardware", "versions"]
    rows = [_row(run, group.name) for group in groups for run in group.runs]
    parts: list[Part] = [Table(headings, rows, "Memory is that of the processor, at the most.")]
    for group in groups:
        for run in group.runs:
            if run.settings is not None:
                parts.append(Folded(f"All settings of {run.name}", settings_text(run.settings)))
    return Section("What was run", [], parts)


def _row(run: RunFiles, group: str) -> list[str]:
    student = run.card.student if run.card else run.settings.student if run.settings else None
    backbone = getattr(student, "backbone", getattr(student, "name", ""))
    named = f"{getattr(student, 'kind', '-')} {backbone}".strip()
    environment, settings = run.environment, run.settings
    labels = "-"
    if settings is not None and "label_fraction" in type(settings).model_fields:
        labels = f"{getattr(settings, 'label_fraction', 1):.4g}, draw {getattr(settings, 'label_seed', 0)}"
    memory_mb = run.footprint.get("peak_memory_mb")
    versions = environment.get("versions", {})
    return [
        run.name,
        group,
        run.command + ("" if run.card else ", not finished"),
        run.started,
        named,
        "-" if settings is None else settings.data.name,
        "-" if settings is None else settings.split,
        labels,
        "-" if settings is None else str(settings.optim.epochs),
        "-" if settings is None else str(settings.engine.seed),
        "-" if run.minutes is None else f"{run.minutes:.1f} min",
        "-" if not memory_mb else f"{memory_mb / 1000:.1f} GB",
        ", ".join(filter(None, [environment.get("gpu"), f"{environment.get('cores', '?')} cores"])),
        ", ".join(f"{name} {versions[name]}" for name in ("occfeat", "torch") if name in versions),
    ]


def how_it_learned(groups: Sequence[Group]) -> Iterator[Section]:
    """Curves of each command, and a table of where they end."""
    for command, title in (("pretrain", "Pretraining"), ("finetune", "Fine-tuning")):
        members = [
            (series, member, run)
            for series, group in enumerate(groups)
            for member, run in enumerate(group.runs)
            if run.command == command and run.rows
        ]
        names = dict.fromkeys(
            name for _, _, run in members for row in run.rows for name in row if _is_learned(name)
        )
        parts: list[Part] = [
            curves(name, [_curve(run, series, member, name) for series, member, run in members])
            for name in names
        ]
        if parts:
            last = [[run.name, *(shown(run.rows[-1].get(name)) for name in names)] for _, _, run in members]
            table = Table(["run", *names], last, "The last row of each curve.")
            yield Section(f"{title}, step by step", [], [*parts, table])


def _is_learned(name: str) -> bool:
    return name not in ("step", "learning_rate") and not name.startswith("time/")


def _curve(run: RunFiles, series: int, member: int, name: str) -> Curve:
    points = [
        (float(step), float(value))
        for row in run.rows
        if (step := row.get("step")) is not None and (value := row.get(name)) is not None
    ]
    return Curve(run.name, series, member, points)


def what_came_out(groups: Sequence[Group]) -> Iterator[Section]:
    """IoU of each split as bars and tables."""
    splits = dict.fromkeys(one.split for group in groups for run in group.runs for one in run.evaluations)
    for split in splits:
        found = {group.name: spreads(group, _evaluated(group, split)) for group in groups}
        found = {name: figures for name, figures in found.items() if figures}
        counted = [
            one for group in groups for run in group.runs for one in run.evaluations if one.split == split
        ]
        caption = f"IoU on {split}. {SPREAD}"
        names = list(dict.fromkeys(name for figures in found.values() for name in figures))
        singles = [
            [run.name, *(shown(figures.get(name)) for name in names)]
            for group in groups
            for run, figures in zip(group.runs, _evaluated(group, split), strict=True)
            if figures
        ]
        numbers = sorted({f"{one.key_frames} key frames, {one.broken} broken" for one in counted})
        threshold = ", ".join(sorted({f"{one.threshold:g}" for one in counted}))
        words = [f"{' or '.join(numbers)}; a cell counts as predicted from a probability of {threshold}."]
        parts: list[Part] = [bars(found, caption), spread_table(found, names, caption)]
        if len(singles) > len(found):
            parts.append(Table(["run", *names], singles, f"IoU on {split}, each run by itself."))
        yield Section(f"IoU on {split}", words, parts)


def _evaluated(group: Group, split: str) -> list[Figures]:
    found = [[one.metrics for one in run.evaluations if one.split == split] for run in group.runs]
    return [metrics[0] if metrics else {} for metrics in found]


def how_robust(groups: Sequence[Group]) -> Iterator[Section]:
    """IoU under corruptions as radar and tables, for each way it was evaluated."""
    ways = dict.fromkeys(
        _way(one) for group in groups for run in group.runs for one in run.robustness if one.corrupted
    )
    for way in ways:
        split, images, seed, names = way
        results = [(group, [_robust(run, way) for run in group.runs]) for group in groups]
        figures = dict.fromkeys(
            figure for _, found in results for one in found if one for figure in one.scores
        )
        of_seed = f", seed {seed}" if images == "generated" else ""
        words = [
            f"{len(names)} corruptions, {images} images{of_seed}. RR, the resilience rate, is the IoU relative "
            "to clean images; CE, the corruption error, is 1 - IoU relative to a baseline."
        ]
        parts = [part for figure in figures for part in _robust_parts(figure, results, names)]
        yield Section(f"Robustness on {split}", words, parts)


def _way(one: RobustnessResults) -> tuple[str, str, int, tuple[str, ...]]:
    """What must be the same, so that two results can stand side by side."""
    return one.split, one.images, one.seed, tuple(one.corrupted)


def _robust(run: RunFiles, way: tuple[object, ...]) -> RobustnessResults | None:
    return next((one for one in run.robustness if _way(one) == way), None)


def _robust_parts(
    figure: str, results: Sequence[tuple[Group, Sequence[RobustnessResults | None]]], names: Sequence[str]
) -> list[Part]:
    """Radar, a table of the corruptions and one of their kinds."""
    iou, kinds = {}, {}
    for group, found in results:
        scores = [one.scores.get(figure) if one else None for one in found]
        clean = [{"clean": one.clean.get(figure)} if one else {} for one in found]
        each = [{name: one.iou for name, one in s.by_corruption.items()} if s else {} for s in scores]
        overall: list[Figures] = [
            {"mRR": s.mean.resilience_rate, "mCE": s.mean.corruption_error} if s else {} for s in scores
        ]
        rates = [{k: one.resilience_rate for k, one in s.by_kind.items()} if s else {} for s in scores]
        joined: list[Figures] = [{**a, **b, **c} for a, b, c in zip(clean, each, overall, strict=True)]
        if figures := spreads(group, joined):
            iou[group.name], kinds[group.name] = figures, spreads(group, rates)
    parts: list[Part] = []
    if len(names) >= SPOKES:
        spokes = {g: {n: figures[n] for n in names if n in figures} for g, figures in iou.items()}
        spokes = {group: figures for group, figures in spokes.items() if len(figures) == len(names)}
        if spokes:
            parts.append(radar(spokes, f"{figure}: IoU under each corruption, mean over its severities"))
    columns = ["clean", *names, "mRR", "mCE"]
    parts.append(spread_table(iou, columns, f"{figure}: IoU, mean over the severities. {SPREAD}"))
    of_kinds = list(dict.fromkeys(kind for figures in kinds.values() for kind in figures))
    parts.append(spread_table(kinds, of_kinds, f"{figure}: resilience rate by kind of corruption."))
    return parts


def what_it_means(groups: Sequence[Group]) -> Iterator[Section]:
    """Figures and pictures of each analysis."""
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
    for figures, caption in (
        (results.probe_auc, "Linear probe: area under the ROC curve"),
        (results.clusters, "Clusters of k-means against the classes"),
        ({"cosine": results.cosine_by_class}, "Mean cosine of student and teacher, by class"),
        ({"cosine": results.cosine_by_distance}, "Mean cosine of student and teacher, by distance in metres"),
        (results.occupancy_by_distance, "Occupancy by distance in metres"),
    ):
        names = list(dict.fromkeys(name for row in figures.values() for name in row))
        rows = [[who, *(shown(row.get(name)) for name in names)] for who, row in figures.items()]
        yield Table(["", *names], rows, caption)


def spread_table(figures: Mapping[str, Mapping[str, Spread]], names: Sequence[str], caption: str) -> Table:
    """A row for each group."""
    known = [name for name in names if any(name in row for row in figures.values())]
    rows = [
        [group, str(max(one.runs for one in row.values())), *(str(row.get(name, "-")) for name in known)]
        for group, row in figures.items()
        if row
    ]
    return Table(["group", "runs", *known], rows, caption)


def shown(value: float | None) -> str:
    """A figure as it is written in tables."""
    return "-" if value is None or value != value else f"{value:.4f}"
