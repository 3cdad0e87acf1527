"""How much weight do features need? Curves over the ratio of their gradient to that of occupancy.

    python experiments/weight.py RUNS [--arms ...] [--modes fine-tuned linear] [--seeds 0 1] [--draws 0 1 2]
      [--split val] [--report]

A λ does not carry over from one grid to another, the ratio does (`loss.features: auto`, `loss.ratio`).
Targets are raw or centred, and predicted from the voxels of occupancy or in a branch of their own. Rows go to
`ledgers/street.jsonl`, which has those of `claim.py`, too.
"""

from itertools import product
from typing import Any

from harness.question import Question, ask
from harness.study import OCCUPANCY, Arm

RATIOS = (0.03, 0.1, 0.3, 1.0, 3.0)
TARGETS: dict[str, dict[str, Any]] = {"raw": {}, "centred": {"center": "mean"}}
BRANCHES: dict[str, dict[str, Any]] = {"shared": {}, "own branch": {"feature_channels": 64}}
WAYS = {f"{target}, {branch}": (target, branch) for target, branch in product(TARGETS, BRANCHES)}


def _name(ratio: float, way: str) -> str:
    """Return the name of an arm."""
    return f"ratio-{ratio:g}-{way.replace(', ', '-').replace(' ', '-')}"


def _arm(ratio: float, way: str) -> Arm:
    """Return the arm of a ratio."""
    target, branch = WAYS[way]
    loss = {"features": "auto", "ratio": ratio, **TARGETS[target]}
    return Arm(f"r {ratio:g}, {way}", {"loss": loss, "head": BRANCHES[branch]})


ARMS: dict[str, Arm | None] = {
    "none": None,
    "occupancy": OCCUPANCY,
    **{_name(ratio, way): _arm(ratio, way) for ratio, way in product(RATIOS, WAYS)},
}
CURVES = {
    "occupancy only": dict.fromkeys(RATIOS, "occupancy"),
    **{way: {ratio: _name(ratio, way) for ratio in RATIOS} for way in WAYS},
}

if __name__ == "__main__":
    ask(Question(__doc__ or "", ARMS, "weight.png", curves=CURVES, axis="ratio of the gradients"))
