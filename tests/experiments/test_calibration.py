"""The experiment on small errors of calibration: what it puts in, and its table."""

import math

import pytest

from tests.experiments.scripts import load

calibration = load("calibration")


def _row(found: tuple[float, ...], gains: float = 1.0) -> dict[str, float]:
    """A row with an estimate, sure to 0.05 degrees and 5 ms."""
    row = {f"found_{axis}": value for axis, value in zip(calibration.AXES, found, strict=True)}
    row |= dict(zip(map("uncertainty_{}".format, calibration.AXES), (0.05, 0.05, 0.05, 0.005), strict=True))
    return row | {"gains": gains}


def test_cases__are_of_one_axis_and_both_signs() -> None:
    cases = calibration.cases()
    assert cases[0] == (0, 0, 0, 0)
    assert len(set(cases)) == len(cases) == 1 + 2 * (3 * 3 + 2)
    assert all(sum(value != 0 for value in case) == 1 for case in cases[1:])
    assert sum(map(math.fsum, cases)) == 0


def test_report__is_of_the_largest_errors(capsys: pytest.CaptureFixture[str]) -> None:
    case = calibration.Case
    rows = {
        case("d", "FRONT", 0, 0, 0, 0): _row((0.1, 0, 0, 0)),
        case("d", "FRONT", 1, 0, 0, 0): _row((1.2, 0, 0, 0.004)),
        case("d", "FRONT", -1, 0, 0, 0): _row((-0.8, 0.6, 0, 0), gains=0.5),
    }
    calibration.report(rows)
    none, turned = capsys.readouterr().out.splitlines()[1:]
    assert none == "none | 0.10 0.00 0.00 0 | 0.00 0.00 0.00 0 | 0 of 1 | 0"
    assert turned == "x 1 | 0.20 0.60 0.00 4 | 0.10 0.60 0.00 4 | 1 of 2 | 0"
