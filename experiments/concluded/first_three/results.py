"""Results of the first three experiments, in per cent."""

import json
from dataclasses import replace
from statistics import fmean

from concluded.first_three.plan import MODES, Plan, Tuning

METRICS = {
    "vehicle_iou/visible": "vehicle, visible",
    "vehicle_iou/all": "vehicle, all",
    "mean_iou/map": "map",
}
TITLES = {
    "full": "fine-tuned",
    "gentle": "fine-tuned, what was pretrained at a tenth of the rate",
    "frozen": "linear head on the frozen network",
}
BASE = "occupancy"
"""Arm that the others are compared with, beside `none`."""
PerTuning = dict[Tuning, float]


class Results:
    """Results of all fine-tunings that are finished."""

    def __init__(self, plan: Plan) -> None:
        self.found: dict[Tuning, dict[str, float]] = {}
        for tuning in plan.tunings():
            if plan.results(tuning).is_file():
                self.found[tuning] = json.loads(plan.results(tuning).read_text(encoding="utf-8"))["metrics"]

    @property
    def modes(self) -> list[str]:
        """Ways to fine-tune that have a result."""
        return [mode for mode in MODES if any(tuning.mode == mode for tuning in self.found)]

    def of(self, arm: str, mode: str, share: str, metric: str) -> PerTuning:
        """Per cent of each draw and seed of an arm; where nothing was pretrained, gentle is full."""
        wanted = (arm, "full" if arm == "none" and mode == "gentle" else mode, share)
        return {
            replace(tuning, mode=mode): 100 * metrics[metric]
            for tuning, metrics in self.found.items()
            if (tuning.arm, tuning.mode, tuning.share) == wanted
        }

    def differences(self, arm: str, base: str, mode: str, share: str, metric: str) -> PerTuning:
        """Gain of each draw and seed over another arm."""
        ours, theirs = (self.of(one, mode, share, metric) for one in (arm, base))
        pairs = {tuning: (value, theirs.get(replace(tuning, arm=base))) for tuning, value in ours.items()}
        return {tuning: one - other for tuning, (one, other) in pairs.items() if other is not None}


def independent(values: PerTuning) -> list[float]:
    """Return one value per draw of the labels, the mean over its seeds; of a single draw one per seed.

    A draw comes back under every seed: counted as often, the same draws would make intervals narrow.
    """
    by_draw: dict[int, list[float]] = {}
    for tuning, value in values.items():
        by_draw.setdefault(tuning.draw, []).append(value)
    return list(values.values()) if len(by_draw) == 1 else [fmean(of_draw) for of_draw in by_draw.values()]
