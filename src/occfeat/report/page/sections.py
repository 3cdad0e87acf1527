"""Sections of a report: settings, training curves, IoU, robustness and analysis of runs."""

from collections.abc import Iterator, Mapping, Sequence

from occfeat.report.page.charts import Curve, bars, curves, radar
from occfeat.report.page.groups import Group, Spread, data_of, spreads
from occfeat.report.page.page import Folded, Part, Picture, Section, Table
from occfeat.report.page.runs import AnalysisResults, EvaluationResults, Metrics, RunFiles
from occfeat.report.pictures.embedded import picture_uri
from occfeat.runs.saved_settings import settings_text
from occfeat.segmentation.robustness.results import RobustnessResults
from occfeat.settings.commands import TRAINING
from occfeat.settings.several import name_of_splits

SPREAD = "Runs that differ only in seed or draw of labels form a group: its mean, in brackets its range."
SPOKES = 3
"""Fewest corruptions that are drawn as a radar."""
PICTURES = {
    "features": "Features, those of teacher and student in one basis: equal colours are equal features",
    "similarity": "Cosine of each voxel to the marked one",
    "window": "The sweeps around a key frame: returns by time, and the voxels that they make known",
    "probe": "Area under the ROC curve of a linear probe, each class against all others",
    "probe_by_distance": "The same in rings around the ego vehicle, mean over the classes",
    "clusters": "Clusters of k-means against the classes",
    "cosine_by_class": "Mean cosine of student and teacher, by class",
    "cosine_by_distance": "Mean cosine of student and teacher, by distance in metres",
    "occupancy": "Occupancy in rings around the ego vehicle, by distance in metres",
}
"""Pictures of an analysis and what they show."""


def runs_section(groups: Sequence[Group]) -> Section:
    """Return what tells the runs apart, what all have in common, and all settings."""
    facts = {run.name: _facts(run, group.name) for group in groups for run in group.runs}
    rows = list(facts.values())
    shared = {name: value for name, value in rows[0].items() if all(row[name] == value for row in rows)}
    own = [name for name in rows[0] if name not in shared]
    parts: list[Part] = []
    if own:
        each = [[run, *(row[name] for name in own)] for run, row in facts.items()]
        parts.append(Table(["run", *own], each, "What differs between the runs.", texts=True))
    if shared:
        caption = "The run." if len(rows) == 1 else "What all runs have in common."
        parts.append(Table(["", ""], [[name, value] for name, value in shared.items()], caption, texts=True))
    for group in groups:
        for run in group.runs:
            if run.settings is not None:
                parts.append(Folded(f"All settings of {run.name}", settings_text(run.settings)))
    return Section("Runs and settings", [], parts)


def _facts(run: RunFiles, group: str) -> dict[str, str]:
    """Return the main settings of a run, its cost and its machine, as text by name."""
    student = run.card.student if run.card else run.settings.student if run.settings else None
    backbone = getattr(student, "backbone", getattr(student, "name", ""))
    named = f"{getattr(student, 'kind', '-')} {backbone}".strip()
    environment, settings = run.environment, run.settings
    labels = "-"
    if settings is not None and "label_fraction" in type(settings).model_fields:
        labels = f"{getattr(settings, 'label_fraction', 1):.4g}, draw {getattr(settings, 'label_seed', 0)}"
    memory_mb = run.cost.peak_memory_mb
    versions = environment.get("versions", {})
    return {
        "group": group,
        "command": run.command + ("" if run.card else ", not finished"),
        "started": run.started,
        "student": named,
        "started from": _start_of(run),
        "images": "-" if settings is None else " x ".join(map(str, settings.view.image_size)),
        "grid": _grid_of(run),
        "data": "-" if settings is None else data_of(run),
        "trained on": "-" if settings is None else name_of_splits(settings.split),
        "labels": labels,
        "epochs": "-" if settings is None else str(settings.optim.epochs),
        "seed": "-" if settings is None else str(settings.engine.seed),
        "training time": _duration(run.seconds),
        "peak memory": "-" if not memory_mb else f"{memory_mb / 1000:.1f} GB (CPU)",
        "hardware": ", ".join(
            filter(None, [environment.get("gpu"), f"{environment.get('cores', '?')} cores"])
        ),
        "versions": ", ".join(f"{name} {version}" for name, version in versions.items()),
    }


def _duration(seconds: float | None) -> str:
    """Return a time in seconds, minutes or hours."""
    if seconds is None:
        return "-"
    for unit, length_s in (("h", 3600), ("min", 60)):
        if seconds >= 2 * length_s:
            return f"{seconds / length_s:.1f} {unit}"
    return f"{seconds:.0f} s"


def _start_of(run: RunFiles) -> str:
    """Return the name of the run that a run was started from."""
    start = getattr(run.settings, "start", None)
    return "-" if start is None else f"{start.parent.name}/{start.name}"


def _grid_of(run: RunFiles) -> str:
    """Return the extent and voxels of a run's grid."""
    if run.grid is None:
        return "-"
    lower, upper, cell = run.grid.lower_m, run.grid.upper_m, run.grid.cell_m
    return f"from {lower} to {upper} m in voxels of {cell} m"


def training_sections(groups: Sequence[Group]) -> Iterator[Section]:
    """Return the curves of each command, and a table of their last values."""
    for command, title in ((name, kind.stage.capitalize()) for name, kind in TRAINING.items()):
        members = [
            (series, member, run)
            for series, group in enumerate(groups)
            for member, run in enumerate(group.runs)
            if run.command == command and run.rows
        ]
        names = dict.fromkeys(
            name for _, _, run in members for row in run.rows for name in row if _is_metric(name)
        )
        parts: list[Part] = [
            curves(name, [_curve(run, series, member, name) for series, member, run in members])
            for name in names
        ]
        if parts:
            last = [[run.name, *(formatted(_last(run, name)) for name in names)] for _, _, run in members]
            table = Table(["run", *names], last, "Last values of the curves.")
            yield Section(f"{title} curves", [], [*parts, table])


def _is_metric(name: str) -> bool:
    """Return whether a column of the metrics file is a loss or a metric of the network."""
    return name not in ("step", "learning_rate") and not name.startswith("time/")


def _last(run: RunFiles, name: str) -> float | int | None:
    """Return the value of a metric in the last row that holds it; None if there is none."""
    return next((row[name] for row in reversed(run.rows) if name in row), None)


def _curve(run: RunFiles, series: int, member: int, name: str) -> Curve:
    """Return one metric of a run over the steps."""
    points = [
        (float(step), float(value))
        for row in run.rows
        if (step := row.get("step")) is not None and (value := row.get(name)) is not None
    ]
    return Curve(run.name, series, member, points)


def evaluation_sections(groups: Sequence[Group]) -> Iterator[Section]:
    """Return the IoU of each split as bars and tables."""
    order = [group.name for group in groups]
    splits = dict.fromkeys(one.split for group in groups for run in group.runs for one in run.evaluations)
    for split in splits:
        found = {group.name: spreads(group, _evaluated(group, split)) for group in groups}
        found = {name: metrics for name, metrics in found.items() if metrics}
        counted = [
            one for group in groups for run in group.runs for one in run.evaluations if one.split == split
        ]
        caption = f"IoU on {split}. {SPREAD}"
        names = list(dict.fromkeys(name for metrics in found.values() for name in metrics))
        singles = [
            [run.name, *(formatted(metrics.get(name)) for name in names)]
            for group in groups
            for run, metrics in zip(group.runs, _evaluated(group, split), strict=True)
            if metrics
        ]
        numbers = sorted({_counted(one) for one in counted})
        threshold = ", ".join(sorted({f"{one.threshold:g}" for one in counted}))
        words = [f"{' or '.join(numbers)}; a cell counts as predicted above a probability of {threshold}."]
        parts: list[Part] = [
            bars(found, order, f"IoU on {split}; whiskers show the range of a group"),
            spread_table(found, names, caption),
        ]
        if len(singles) > len(found):
            parts.append(Table(["run", *names], singles, f"IoU on {split}, each run by itself."))
        yield Section(f"IoU on {split}", words, parts)


def _counted(one: EvaluationResults) -> str:
    """Return how many key frames were evaluated, and what was left out."""
    fewer = f", {one.incomplete} without some camera" if one.incomplete else ""
    return f"{one.key_frames} key frames, {one.broken} broken{fewer}"


def _evaluated(group: Group, split: str) -> list[Metrics]:
    """Return the metrics of each run of a group on a split; {} for a run without them."""
    found = [[one.metrics for one in run.evaluations if one.split == split] for run in group.runs]
    return [metrics[0] if metrics else {} for metrics in found]


def spread_table(metrics: Mapping[str, Mapping[str, Spread]], names: Sequence[str], caption: str) -> Table:
    """Return a table with a row for each group."""
    known = [name for name in names if any(name in row for row in metrics.values())]
    rows = [
        [group, str(max(one.runs for one in row.values())), *(str(row.get(name, "-")) for name in known)]
        for group, row in metrics.items()
        if row
    ]
    return Table(["group", "runs", *known], rows, caption)


def formatted(value: float | None) -> str:
    """Return a metric as it is written in tables."""
    return "-" if value is None or value != value else f"{value:.4f}"


def robustness_sections(groups: Sequence[Group]) -> Iterator[Section]:
    """Return IoU under corruptions as radar and tables, for each protocol."""
    protocols = dict.fromkeys(
        _protocol(one) for group in groups for run in group.runs for one in run.robustness if one.corrupted
    )
    for protocol in protocols:
        split, images, seed, _, names = protocol
        results = [(group, [_results_under(run, protocol) for run in group.runs]) for group in groups]
        metrics = dict.fromkeys(
            metric for _, found in results for one in found if one for metric in one.scores
        )
        of_seed = f", seed {seed}" if images == "generated" else ""
        words = [
            f"{len(names)} corruptions, {images} images{of_seed}. RR, the resilience rate, is the IoU "
            "relative to clean images; CE, the corruption error, is 1 - IoU relative to a baseline."
        ]
        parts = [part for metric in metrics for part in _robustness_parts(metric, results, names)]
        yield Section(f"Robustness on {split}", words, parts)


def _protocol(one: RobustnessResults) -> tuple[str, str, int, str, tuple[str, ...]]:
    """Return what must be equal for two results to be compared."""
    return one.split, one.images, one.seed, one.data_fingerprint, tuple(one.corrupted)


def _results_under(run: RunFiles, protocol: tuple[object, ...]) -> RobustnessResults | None:
    """Return the results of a run under a protocol; None if there are none."""
    return next((one for one in run.robustness if _protocol(one) == protocol), None)


def _robustness_parts(
    metric: str, results: Sequence[tuple[Group, Sequence[RobustnessResults | None]]], names: Sequence[str]
) -> list[Part]:
    """Return a radar, a table of the corruptions and one of their kinds."""
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
    parts.append(transposed_table(iou, lines, f"{metric}: IoU, mean over the severities. {SPREAD}"))
    of_kinds = list(dict.fromkeys(kind for metrics in kinds.values() for kind in metrics))
    parts.append(transposed_table(kinds, of_kinds, f"{metric}: resilience rate by kind of corruption."))
    return parts


def analysis_sections(groups: Sequence[Group]) -> Iterator[Section]:
    """Return metrics and pictures of each analysis."""
    for run in (run for group in groups for run in group.runs):
        for folder, results in run.analyses:
            voxels = sum(results.voxels.values())
            words = [f"{voxels} voxels of {results.key_frames} key frames of {results.split}."]
            pictures = [
                Picture(picture_uri(folder / f"{name}.png"), caption)
                for name, caption in PICTURES.items()
                if (folder / f"{name}.png").is_file()
            ]
            yield Section(f"Analysis of {run.name}", words, [*_analysis_tables(results), *pictures])


def _analysis_tables(results: AnalysisResults) -> Iterator[Table]:
    """Return a table for each kind of metric of an analysis."""
    by_distance = {who: found.get("mean", {}) for who, found in results.probe_auc_by_distance.items()}
    cosine = "Mean cosine of student and teacher" + (", centred" if results.centered else "")
    for metrics, caption in (
        (results.probe_auc, "Linear probe: area under the ROC curve"),
        (by_distance, "The same by distance in metres, mean over the classes"),
        (results.clusters, "Clusters of k-means against the classes"),
        ({"cosine": results.cosine_by_class}, f"{cosine}, by class"),
        ({"cosine": results.cosine_by_distance}, f"{cosine}, by distance in metres"),
        (results.occupancy_by_distance, "Occupancy by distance in metres"),
    ):
        names = list(dict.fromkeys(name for row in metrics.values() for name in row))
        rows = [[who, *(formatted(row.get(name)) for name in names)] for who, row in metrics.items()]
        if names:  # an objective that was not trained has none
            yield Table(["", *names], rows, caption)


def transposed_table(
    metrics: Mapping[str, Mapping[str, Spread]], names: Sequence[str], caption: str
) -> Table:
    """Return a table with a row for each name and a column for each group."""
    rows = [
        [name, *(str(row.get(name, "-")) for row in metrics.values())]
        for name in names
        if any(name in row for row in metrics.values())
    ]
    return Table(["", *metrics], rows, caption)
