"""`occfeat analyse`: analyse the features of a pretraining run."""

import json
import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Bool, Float, Int64
from rich.console import Console
from rich.progress import track

from occfeat.commands.outcome import ResultsOutcome, table
from occfeat.commands.training.caches import open_teacher_cache
from occfeat.data.check.check import quick_check
from occfeat.data.dataset import KeyFrames
from occfeat.data.index.index import Index
from occfeat.data.index.subsets import spread
from occfeat.data.sample.contents import TimesRequest
from occfeat.data.sweeps.by_time import read_by_time
from occfeat.errors import SettingsError
from occfeat.machine.atomic import write_text_atomic
from occfeat.pretraining.analysis.collect import (
    BEV,
    EDGES_M,
    STUDENT,
    TEACHER,
    Collected,
    Seen,
    collect,
    see,
)
from occfeat.pretraining.analysis.naming import NAMES
from occfeat.pretraining.analysis.scores import (
    Decisions,
    auc,
    auc_by_distance,
    clusters,
    mean_by_class,
    mean_by_distance,
    probe,
    similarity,
)
from occfeat.pretraining.key_frames import key_frames_of
from occfeat.pretraining.network import PretrainingNetwork
from occfeat.pretraining.objectives.contract import POINTS, needs_of
from occfeat.pretraining.objectives.features import cosine
from occfeat.pretraining.restore import load_pretraining
from occfeat.report.pictures.analysis import draw_bars, draw_features, draw_similarity
from occfeat.report.pictures.window import draw_window
from occfeat.runs.card import read_card
from occfeat.runs.folder import ANALYSIS, RunFolder
from occfeat.runs.output import require_empty
from occfeat.settings.commands import AnalyseConfig
from occfeat.teacher.build import build_teacher
from occfeat.teacher.network import Teacher
from occfeat.training.device import choose_device

OWN_SWEEP_S = 0.05
"""Largest distance in time of a key frame's own sweep."""
OF_WHOM = {TEACHER: "the teacher", STUDENT: "the student's prediction", BEV: "the student's BEV features"}
"""What a picture calls them."""
FEWEST_KEY_FRAMES = 2
"""A probe learns from half of the key frames and is tested on the other half."""


@dataclass(frozen=True)
class _Subject:
    """What is analysed, on what."""

    network: PretrainingNetwork
    teacher: Teacher | None
    """None if nothing was distilled, or key frames carry what it saw."""
    key_frames: KeyFrames
    rows: list[int]
    data_set: str
    """Name of the data set among several of pretraining; empty for any other."""


def analyse(config: AnalyseConfig) -> ResultsOutcome:
    """Analyse a pretraining run; writes `analysis.json` and pictures.

    Raises:
        OccFeatError: The run has no checkpoint, or data or output folder cannot be used.
    """
    folder = RunFolder.of(config.run)
    run, out = folder.path, config.out or folder.analysis(config.split)
    require_empty(out, hint="Choose another --out.")
    subject = _prepare(config, run)
    voxels, example = _look(subject, config)
    results = _results(voxels, config, example.centered)
    write_text_atomic(out / ANALYSIS, json.dumps(results, indent=2) + "\n")
    _draw(out, results, example, subject.key_frames, config)
    if example.sample.window is not None:
        _draw_window(out, example, subject.key_frames)
    metrics = _metrics(results)
    counted = f"{len(subject.rows)} key frames of {config.split}, {len(voxels.names)} voxels"
    return ResultsOutcome(f"{counted}\n{table(metrics)}\n{out / ANALYSIS}", path=out, metrics=metrics)


def _look(subject: _Subject, config: AnalyseConfig) -> tuple[Collected, Seen]:
    """Return the voxels of all key frames, and the first key frame for the pictures."""
    rows = track(subject.rows, f"analyse on {config.split}", console=Console(stderr=True))
    seen = (see(subject.network, subject.teacher, subject.key_frames, row, subject.data_set) for row in rows)
    shown: list[Seen] = []
    voxels = collect(_first_kept(seen, shown), config.voxels)
    if len(voxels.names) < config.clusters:
        message = f"{len(voxels.names)} occupied voxels were seen, too few for {config.clusters} clusters."
        raise SettingsError(message, hint="Raise `--key-frames` or `--voxels`, or lower `--clusters`.")
    return voxels, shown[0]


def _first_kept(seen: Iterable[Seen], shown: list[Seen]) -> Iterator[Seen]:
    """Pass key frames on, and keep the first with an occupied voxel for the pictures."""
    for one in seen:
        if not shown and len(one.cells):
            shown.append(one)
        yield one


def _prepare(config: AnalyseConfig, run: Path) -> _Subject:
    """Load the run, and choose key frames to analyse it on."""
    network, settings = load_pretraining(run)
    index = Index.open(config.source)
    rows = index.rows(config.split)
    quick_check(index, rows, view=settings.view, needs_lidar=True)
    needs, device = needs_of(network.objectives) | POINTS, choose_device(config.device)
    path = config.teacher_cache
    cache = None
    if path is not None and "teacher" in needs:
        cache = open_teacher_cache(path, settings, index, rows)
    if cache is None:
        needs -= {"views"}
    teacher = None
    if "teacher" in needs and cache is None:
        teacher = build_teacher(settings.teacher, settings.second_teacher).to(device)
    key_frames = key_frames_of(settings, index, cache, needs, learn=False)
    chosen = spread(rows, config.key_frames).tolist()
    names = {fingerprint: name for name, fingerprint in read_card(run).data_sets.items()}
    return _Subject(network.to(device), teacher, key_frames, chosen, names.get(index.fingerprint, ""))


def _results(voxels: Collected, config: AnalyseConfig, centered: bool) -> dict[str, Any]:
    """Return everything that is a number."""
    test = voxels.key_frame % FEWEST_KEY_FRAMES > 0
    probes = {who: _probe(voxels, values, test) for who, values in voxels.features.items()}
    names, distance_m = voxels.names[test], voxels.distance_m[test]
    counts = torch.bincount(voxels.names, minlength=len(NAMES))
    return {
        "split": config.split,
        "key_frames": int(voxels.key_frame.max()) + 1,
        "voxels": {name: int(count) for name, count in zip(NAMES, counts, strict=True)},
        "probe_auc": {who: auc(decisions, names, NAMES) for who, decisions in probes.items()},
        "probe_auc_by_distance": {
            who: auc_by_distance(decisions, names, NAMES, distance_m, EDGES_M)
            for who, decisions in probes.items()
        },
        "clusters": {
            who: clusters(values, voxels.names, config.clusters, seed=0)
            for who, values in voxels.features.items()
        },
        "centered": centered,
        **_cosines(voxels),
        "occupancy_by_distance": voxels.occupancy,
    }


def _cosines(voxels: Collected) -> dict[str, dict[str, float]]:
    """Return how well the student predicts what the teacher sees; nothing where that was not learned."""
    if STUDENT not in voxels.features:
        return {"cosine_by_class": {}, "cosine_by_distance": {}}
    similar = cosine(voxels.features[STUDENT], voxels.features[TEACHER])
    return {
        "cosine_by_class": mean_by_class(similar, voxels.names, NAMES),
        "cosine_by_distance": mean_by_distance(similar, voxels.distance_m, EDGES_M),
    }


def _metrics(results: dict[str, Any]) -> dict[str, float]:
    """Return the main metrics."""
    metrics = {f"probe_auc/{who}": auc.get("mean", math.nan) for who, auc in results["probe_auc"].items()}
    metrics |= {f"nmi/{who}": found["nmi"] for who, found in results["clusters"].items()}
    if results["cosine_by_class"]:
        name = "centered_cosine" if results["centered"] else "cosine"
        metrics[name] = results["cosine_by_class"]["all"]
    return metrics


def _probe(
    voxels: Collected, features: Float[torch.Tensor, "V F"], test: Bool[torch.Tensor, " V"]
) -> Decisions:
    """Return what linear probes say of the voxels of key frames that they did not learn from."""
    return probe(features[~test], voxels.names[~test], features[test], NAMES)


def _draw(
    out: Path, results: dict[str, Any], seen: Seen, key_frames: KeyFrames, config: AnalyseConfig
) -> None:
    """Draw features of one key frame, and all metrics."""
    channels, grid = key_frames.channels, key_frames.grid
    draw_features(out / "features.png", seen, channels, grid)
    chosen = _nearest(seen, config.voxel_ego)
    similarities = {OF_WHOM[who]: similarity(values, chosen) for who, values in seen.features.items()}
    draw_similarity(out / "similarity.png", seen, channels, grid, similarities, chosen)
    title = "A linear probe tells each class from all others"
    draw_bars(out / "probe.png", results["probe_auc"], title=title, label="AUC", baseline=0.5)
    rings = {who: by_class.get("mean", {}) for who, by_class in results["probe_auc_by_distance"].items()}
    title = "The same by distance, mean over the classes"
    draw_bars(out / "probe_by_distance.png", rings, title=title, label="AUC", baseline=0.5)
    title = f"{config.clusters} clusters of k-means against the classes"
    draw_bars(out / "clusters.png", results["clusters"], title=title, label="1 is a perfect fit")
    _draw_learned(out, results)


def _draw_window(out: Path, seen: Seen, key_frames: KeyFrames) -> None:
    """Draw the sweeps around the same key frame, from which its occupancy was learned."""
    index, window, wanted = key_frames.index, seen.sample.window, key_frames.contents.window
    if window is None or wanted is None:
        return
    row = index.row_of(seen.sample.token)
    points_ego, after_s = read_by_time(index, key_frames.view, row, wanted.window_s)
    own = replace(key_frames.contents, teacher=None, window=None, times=TimesRequest((0.0,), OWN_SWEEP_S))
    alone = KeyFrames(index, key_frames.view, own, grid=key_frames.grid).sample(row).times
    if alone is not None:
        path = out / "window.png"
        draw_window(path, points_ego, after_s, alone.states[0], window.states, key_frames.grid)


def _draw_learned(out: Path, results: dict[str, Any]) -> None:
    """Draw how well features and occupancy are predicted, each if it was learned."""
    label = "mean cosine, centred" if results["centered"] else "mean cosine"
    for by in ("class", "distance"):
        if metrics := results[f"cosine_by_{by}"]:
            title = f"Student against teacher, by {by}"
            draw_bars(out / f"cosine_by_{by}.png", {"student": metrics}, title=title, label=label)
    if rings := results["occupancy_by_distance"]:
        kinds = {kind: {ring: rings[ring][kind] for ring in rings} for kind in ("iou", "precision", "recall")}
        draw_bars(out / "occupancy.png", kinds, title="Occupancy, by distance", label="share of voxels")


def _nearest(seen: Seen, voxel_ego: tuple[float, float, float] | None) -> int:
    """Return the voxel nearest to a position; without one, the nearest of a car, or the first of all."""
    if voxel_ego is not None:
        position = torch.tensor(voxel_ego)
        return int((seen.centers_ego - position).norm(dim=1).argmin())
    cars: Int64[torch.Tensor, " n"] = (seen.names == NAMES.index("car")).nonzero()[:, 0]
    if len(cars) == 0:
        return 0
    nearest = seen.centers_ego[cars, :2].norm(dim=1).argmin()
    return int(cars[nearest])
