"""`robustness.json`: results of an evaluation under corruptions."""

from collections.abc import Iterator
from pathlib import Path
from typing import Literal

from pydantic import ValidationError

from occfeat.data.corruptions.corruptions import NAMES, SEVERITIES
from occfeat.errors import RunError, SettingsError
from occfeat.runs.card import read_card
from occfeat.runs.folder import ROBUSTNESS, ROBUSTNESS_TABLES, RunFolder
from occfeat.segmentation.robustness.scores import Corrupted, Metric, Metrics, Score, Scores, score_all
from occfeat.settings.sections import CorruptionName
from occfeat.settings.strict import Strict


class RobustnessResults(Strict):
    """Metrics of one network under corruptions."""

    format: Literal[1] = 1
    """Version of this file."""
    split: str
    key_frames: int
    """Number of clean key frames that were evaluated."""
    data_fingerprint: str
    """Hash of the tables of the data set."""
    images: Literal["generated", "released"]
    """Corrupted on the fly, or read from the released nuScenes-C."""
    seed: int
    """Seed of generated corruptions."""
    baseline: str | None = None
    """Folder of the results that corruption errors are relative to."""
    clean: Metrics
    corrupted: Corrupted
    scores: dict[str, Scores]
    """Scores by metric, such as `vehicle_iou/visible`."""

    def scored(self, baseline: "RobustnessResults | None") -> "RobustnessResults":
        """Return the same results with scores."""
        theirs = None if baseline is None else baseline.corrupted
        return self.model_copy(update={"scores": score_all(self.clean, self.corrupted, theirs)})

    def flat(self) -> dict[str, float]:
        """Return the mean of each corruption, and mRR and mCE, by names such as `vehicle_iou/visible/Fog`."""
        named: dict[str, Metric] = {}
        for metric, scores in self.scores.items():
            named |= {f"{metric}/{name}": one.iou for name, one in scores.by_corruption.items()}
            named[f"{metric}/mRR"] = scores.mean.resilience_rate
            named[f"{metric}/mCE"] = scores.mean.corruption_error
        return {name: value for name, value in named.items() if value is not None}


def read_baseline(path: Path, split: str) -> RobustnessResults:
    """Read the results of a baseline.

    Args:
        path: Folder of results, or of a run with `robustness-SPLIT`.
        split: Split of the evaluation.

    Raises:
        RunError: The results are missing or damaged.
    """
    candidates = (path / ROBUSTNESS, RunFolder(path).robustness(split) / ROBUSTNESS)
    file = next((one for one in candidates if one.is_file()), None)
    if file is None:
        hint = "Give a fine-tuning run that was evaluated under corruptions, or the folder of its results."
        if RunFolder(path).card.is_file() and read_card(path).stage == "segmentation":
            hint = f"Make them first: occfeat evaluate {path} --corruptions all ..."
        raise RunError(f"The baseline {path} does not hold {ROBUSTNESS} of {split}.", hint=hint)
    return _read(file)


def _read(file: Path) -> RobustnessResults:
    """Read a file of results."""
    try:
        return RobustnessResults.model_validate_json(file.read_bytes())
    except ValidationError as error:
        raise RunError(f"{file} is damaged or of another version: {error}", hint="Evaluate again.") from error


def is_unfinished(folder: Path) -> bool:
    """Return whether an evaluation under corruptions was interrupted."""
    return (folder / ROBUSTNESS).is_file() and not (folder / ROBUSTNESS_TABLES).exists()


def read_begun(folder: Path) -> RobustnessResults | None:
    """Read the results of an interrupted evaluation; None if there is none.

    Raises:
        RunError: The file is damaged.
    """
    return _read(folder / ROBUSTNESS) if is_unfinished(folder) else None


def go_on(fresh: RobustnessResults, begun: RobustnessResults, folder: Path) -> RobustnessResults:
    """Return results with the finished corruptions of an interrupted evaluation.

    Args:
        fresh: Results of the clean images, which identify the network.
        begun: Results of the interrupted evaluation.
        folder: Folder of the results.

    Raises:
        RunError: The folder contains unfinished results of another evaluation.
    """
    same = ("split", "data_fingerprint", "key_frames", "images", "seed", "clean")
    if differing := [name for name in same if getattr(begun, name) != getattr(fresh, name)]:
        message = f"{folder} contains unfinished results of another evaluation. Differences:"
        raise RunError(message, first=differing, hint="Choose another --out, or remove the folder.")
    return fresh.model_copy(update={"corrupted": begun.corrupted})


def require_comparable(
    ours: RobustnessResults, baseline: RobustnessResults, names: tuple[CorruptionName, ...]
) -> None:
    """Refuse a baseline of another data set, metric or corruption.

    Args:
        ours: Results to compare, whose `corrupted` and values can still be missing.
        baseline: Results of the baseline.
        names: Corruptions to compare.

    Raises:
        SettingsError: Lists all differences.
    """
    generated = ours.images == "generated"  # released images have no seed
    same = ("split", "data_fingerprint", "key_frames", "images", *(("seed",) if generated else ()))
    differing = [
        f"{name}: the baseline has {getattr(baseline, name)}, this run {getattr(ours, name)}"
        for name in same
        if getattr(baseline, name) != getattr(ours, name)
    ]
    if missing := [metric for metric in ours.clean if metric not in baseline.clean]:
        differing.append(f"the baseline has no {', '.join(missing)}")
    if missing := [name for name in names if set(baseline.corrupted.get(name, ())) != set(SEVERITIES)]:
        differing.append(f"the baseline was not evaluated under {', '.join(missing)}")
    if differing:
        hint = "Evaluate both in the same way, or leave --baseline out."
        raise SettingsError("The baseline was not evaluated in the same way:", first=differing, hint=hint)


def tables(results: RobustnessResults) -> str:
    """Return Markdown tables of the corruptions and of their kinds, for every metric."""
    return "\n".join(line for metric in results.scores for line in _tables_of(metric, results))


def _tables_of(metric: str, results: RobustnessResults) -> Iterator[str]:
    """Yield the lines of both tables of a metric."""
    scores, clean = results.scores[metric], results.clean[metric]
    against = "" if results.baseline is None else f" CE against {results.baseline}."
    yield f"{metric} on {results.split}: {_shown(clean)} on clean images.{against}\n"
    yield _line("corruption", *SEVERITIES, "mean", "RR", "CE")
    yield "|---" + "|---:" * 6 + "|"
    for name in NAMES:
        if name in scores.by_corruption:
            severities = [results.corrupted[name][severity][metric] for severity in SEVERITIES]
            yield _line(name, *map(_shown, severities), *_of(scores.by_corruption[name]))
    yield _line("mean (mRR, mCE)", "", "", "", *_of(scores.mean))
    yield ""
    yield _line("kind", "mean", "RR", "CE")
    yield "|---" + "|---:" * 3 + "|"
    for kind, one in scores.by_kind.items():
        yield _line(kind, *_of(one))
    yield ""


def _line(first: str, *cells: str) -> str:
    """Return a row of a table."""
    return "| " + " | ".join((f"{first:<15}", *(f"{cell:>6}" for cell in cells))) + " |"


def _of(score: Score) -> tuple[str, str, str]:
    """Return the cells of a score."""
    return _shown(score.iou), _shown(score.resilience_rate), _shown(score.corruption_error)


def _shown(metric: Metric) -> str:
    """Return a metric as text."""
    return "-" if metric is None else f"{metric:.4f}"
