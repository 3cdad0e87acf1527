"""`occfeat check`: report all problems of a data folder, and how well cameras fit the LiDAR."""

from collections.abc import Sequence
from pathlib import Path

from occfeat.commands.outcome import Outcome
from occfeat.data.check import check as data_check
from occfeat.data.check.alignment.align import Alignment, align
from occfeat.data.check.alignment.judge import faults, lines
from occfeat.data.index.index import Index
from occfeat.errors import RunError, SettingsError
from occfeat.report.pictures.alignment import draw_alignment
from occfeat.settings.commands import CheckConfig

HINT = (
    "Correct the calibration or the time stamps of the camera. The true `ego_from_camera` is the given one "
    "times the opposite rotation. A positive time means that images are taken later than stated."
)


def check(config: CheckConfig) -> Outcome:
    """Check tables, files, calibration and, if asked for, the content of every file; exit code 2 on problems.

    Raises:
        DatasetError: The tables cannot be read at all.
        RunError: The folder of the pictures exists.
        SettingsError: There is a folder for pictures, and nothing to draw.
    """
    if config.out is not None and not config.calibration:
        hint = "Add --calibration, or leave out --out."
        raise SettingsError("Expected --calibration with --out: only its pictures are drawn.", hint=hint)
    if config.out is not None and config.out.exists():
        raise RunError(f"{config.out} exists already.", hint="Choose another --out.")
    report = data_check.check(config.source, split=config.split, decode=config.decode)
    failed = bool(report.problems)
    if not config.calibration or not report.key_frames:
        return Outcome(report.text(), exit_code=2 if failed else 0)
    index = Index.open(config.source)
    found = align(index, index.rows(config.split), index.default_channels)
    wrong = list(faults(found))
    text = [report.text(), *lines(found), *wrong, *([f"Hint: {HINT}"] if wrong else [])]
    if config.out is not None:
        _draw(config.out, found)
        text.append(str(config.out))
    return Outcome("\n".join(text), exit_code=2 if failed or wrong else 0)


def _draw(out: Path, found: Sequence[Alignment]) -> None:
    """Write a picture of each camera whose errors could be told."""
    out.mkdir(parents=True)
    for one in found:
        if one.fit is not None:
            draw_alignment(out / f"{one.channel}.png", one)
