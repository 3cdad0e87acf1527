"""`occfeat check`: report all problems of a data folder."""

from occfeat.commands.outcome import Outcome
from occfeat.data.check import check as data_check
from occfeat.settings.commands import CheckConfig


def check(config: CheckConfig) -> Outcome:
    """Check tables, files, calibration and, if asked for, the content of every file; exit code 2 on problems.

    Raises:
        DatasetError: The tables cannot be read at all.
    """
    report = data_check.check(config.source, split=config.split, decode=config.decode)
    return Outcome(report.text(), exit_code=2 if report.problems else 0)
