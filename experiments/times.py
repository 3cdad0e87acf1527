"""Does time help: the accumulated present, features over time, the path of the car, occupancy at other times?

    python experiments/times.py RUNS [--arms ...] [--modes fine-tuned linear] [--seeds 0 1 2]
      [--draws 0 1 2 3 4] [--split val] [--report]

The street is that of `claim.py` with LiDAR sweeps at 20 Hz. Vehicles that move and that stand still are also
reported apart. Rows go to `ledgers/swept.jsonl`. RUNS is a folder of its own.
"""

from typing import Any

from harness.question import METRICS, Question, ask
from harness.study import BOTH, OCCUPANCY, Arm, World

SWEPT = World("swept", 300, settings={"sweeps": 9})
APART = {**METRICS, "vehicle_iou/moving": "vehicle, moving", "vehicle_iou/still": "vehicle, still"}
WINDOW_S = 0.5
CAR = {"car_lower_m": (-0.657, -0.865), "car_upper_m": (3.427, 0.865)}
"""The car of nuScenes, whose rig the street has."""
OVER_TIME = {"window_s": WINDOW_S, "features_window_s": 0.6}


def _occupancy(title: str, **loss: Any) -> Arm:
    """Return an arm without features."""
    return Arm(title, {"loss": {"features": 0, **loss}}, features=False)


def _both(title: str, **loss: Any) -> Arm:
    """Return an arm with features."""
    return Arm(title, {**BOTH.settings, "loss": {**BOTH.settings["loss"], **loss}})


ARMS: dict[str, Arm | None] = {
    "none": None,
    "occupancy": OCCUPANCY,
    "window": _occupancy("window of ±0.5 s", window_s=WINDOW_S),
    "window-1": _occupancy("window of ±1 s", window_s=1.0),
    "window-all": _occupancy("window of ±0.5 s, every hit believed", window_s=WINDOW_S, conflicts="ignore"),
    "both": BOTH,
    "over-time": _both("window and features over time", **OVER_TIME),
    "path": _both("window, features over time and path", **OVER_TIME, path=0.1, **CAR),
    "times": _occupancy("occupancy from 1 s before to 1 s after", occupancy=0, times=1),
}

if __name__ == "__main__":
    ask(Question(__doc__ or "", ARMS, "times.png", world=SWEPT, metrics=APART))
