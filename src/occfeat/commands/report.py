"""`occfeat report`: one HTML page about several runs, which opens from disk."""

import logging
from collections.abc import Sequence
from pathlib import Path

import torch

from occfeat.commands.outcome import Outcome
from occfeat.data.index.index import Index
from occfeat.data.index.subsets import spread
from occfeat.errors import RunError, SettingsError
from occfeat.report.page.groups import group_runs, require_comparable
from occfeat.report.page.key_frames import (
    Prediction,
    PretrainingPredictor,
    SegmentationPredictor,
    frames_of,
    worst_rows,
)
from occfeat.report.page.page import Section, Viewer, write_page
from occfeat.report.page.runs import RunFiles, read_runs
from occfeat.report.page.sections import (
    analysis_sections,
    evaluation_sections,
    robustness_sections,
    runs_section,
    training_sections,
)
from occfeat.runs.environment import fingerprints_of
from occfeat.runs.folder import RunFolder
from occfeat.settings.commands import PretrainConfig, ReportConfig
from occfeat.settings.sections import DataConfig
from occfeat.training.device import choose_device

logger = logging.getLogger(__name__)


def report(config: ReportConfig) -> Outcome:
    """Write a page about runs: settings, curves, IoU, key frames, robustness and analysis, where known.

    Raises:
        OccFeatError: A folder is not a run folder, runs cannot be compared, or the page cannot be written.
    """
    if config.out.exists():
        raise RunError(f"{config.out} exists already.", hint="Choose another --out.")
    if config.out.suffix != ".html":
        hint = "Give it a name such as report.html."
        raise SettingsError(f"Expected an --out that ends in .html, got {config.out}.", hint=hint)
    runs = read_runs(config.runs)
    require_comparable(runs)
    groups = group_runs(runs)
    sections = [
        runs_section(groups),
        *evaluation_sections(groups),
        *_key_frames(config, runs),
        *training_sections(groups),
        *robustness_sections(groups),
        *analysis_sections(groups),
    ]
    title = f"Report of {', '.join(group.name for group in groups)}"
    size = write_page(config.out, title, [f"{len(runs)} run(s)."], sections)
    return Outcome(f"{len(runs)} run(s), {len(sections)} sections, {size / 1e6:.1f} MB\n{config.out}")


def _key_frames(config: ReportConfig, runs: Sequence[RunFiles]) -> list[Section]:
    """Return the viewer of key frames, or the reasons why it is missing."""
    if config.key_frames == 0:
        return []
    title, notes = "Key frames", [_reason_left_out(run) for run in runs]
    able = [run for run, note in zip(runs, notes, strict=True) if note is None]
    words = [note for note in notes if note is not None]
    index = _open_index(config, runs)
    if index is None:
        words.append("No key frames are shown: the data set was not found. Name its folder with --data.")
    elif len(roots := _roots_of(runs)) > 1:
        others = ", ".join(str(root) for root in roots if root != index.root)
        words.append(
            f"Key frames are of {index.root}. Choose another data set of the runs with --data: {others}."
        )
    if not able or index is None:
        return [Section(title, words, [])]
    split = config.split or _split_of(able)
    device = choose_device(config.device)
    with torch.inference_mode():
        segmenting = [SegmentationPredictor(run, index, device) for run in able if _is_finetuned(run)]
        if config.pick == "worst" and not segmenting:
            raise SettingsError(
                "--pick worst needs a fine-tuned run.", hint="Leave it out to spread key frames evenly."
            )
        if config.pick == "worst":
            rows = worst_rows(index.rows(split).tolist(), config.key_frames, segmenting)
        else:
            rows = spread(index.rows(split), config.key_frames).tolist()
        predictions: dict[str, list[Prediction]] = {one.name: one.predict(rows) for one in segmenting}
        for run in able:
            if isinstance(run.settings, PretrainConfig):
                network = PretrainingPredictor(run, run.settings, index, rows, device)
                predictions[run.name] = network.predict(rows)
    how = "the worst of" if config.pick == "worst" else "spread evenly over"
    about = (
        f"{len(rows)} key frames, {how} {split}. In BEV, forward is up; the triangle is the ego vehicle. "
        "Probabilities go from dark (0) to light (1); white lines are around true cells. Step with the "
        "arrow keys."
    )
    return [Section(title, [about, *words], [Viewer(frames_of(index, rows, predictions))])]


def _is_finetuned(run: RunFiles) -> bool:
    """Return whether a run is a finished fine-tuning."""
    return run.card is not None and run.card.stage == "segmentation"


def _reason_left_out(run: RunFiles) -> str | None:
    """Return why a run is not shown in key frames; None if it is."""
    if not run.has_weights:
        return f"{run.name} is not shown in key frames: its weights are missing."
    if run.card is not None and run.card.student.kind == "own":
        return f"{run.name} is not shown in key frames: its student is a module of your own."
    if not _is_finetuned(run) and not RunFolder(run.path).checkpoint.is_file():
        return f"{run.name} is not shown in key frames: its checkpoint is missing."
    return None


def _open_index(config: ReportConfig, runs: Sequence[RunFiles]) -> Index | None:
    """Open the data set of the settings, or that of the first run; None if it is not there."""
    settings = next((run.settings for run in runs if run.settings is not None), None)
    if config.data is not None:
        categories = settings.categories if settings is not None else {}
        source = DataConfig(root=config.data, version=config.version, categories=categories)
    elif settings is not None and settings.sources[0].root.is_dir():
        source = settings.sources[0]
    else:
        return None
    index = Index.open(source)
    known = [list(fingerprints_of(run.environment).values()) for run in runs]
    if any(of_run and index.fingerprint not in of_run for of_run in known):
        raise SettingsError(
            f"{source.root} is not the data set of these runs, or its tables have changed.",
            hint="Name the right one with --data, or show none with --key-frames 0.",
        )
    return index


def _roots_of(runs: Sequence[RunFiles]) -> list[Path]:
    """Return the folders of all data sets of the first run with settings."""
    settings = next((run.settings for run in runs if run.settings is not None), None)
    return [] if settings is None else [source.root for source in settings.sources]


def _split_of(runs: Sequence[RunFiles]) -> str:
    """Return the split the first run was evaluated on, or else the one it was trained on."""
    splits = [getattr(run.settings, "val_split", (None,))[0] for run in runs]
    splits += [run.settings.split[0] for run in runs if run.settings is not None]
    return str(next((split for split in splits if split), "all"))
