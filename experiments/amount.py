"""How much do more unlabelled key frames give, at equal steps and at equal epochs?

    python experiments/amount.py RUNS [--arms ...] [--modes fine-tuned linear] [--seeds 0 1] [--draws 0 1 2]
      [--split val] [--report]

The street has 1 200 key frames to learn from. Smaller amounts are its first ones. Rows go to
`ledgers/large.jsonl`. RUNS is a folder of its own.
"""

from dataclasses import replace
from itertools import product

from harness.question import Question, ask
from harness.study import BOTH, OCCUPANCY, Arm, World, part

AMOUNTS = (75, 150, 300, 600, 1200)
USUAL, EPOCHS = 300, 8
"""Key frames for which both schedules are the same, and their epochs: 600 steps."""
SCHEDULES = ("equal steps", "equal epochs")
KINDS = {"occupancy": OCCUPANCY, "both": BOTH}
LARGE = World("large", AMOUNTS[-1], per_scene=5, parts=AMOUNTS[:-1])


def _epochs(schedule: str, amount: int) -> int:
    """Return the epochs of pretraining."""
    return EPOCHS * USUAL // amount if schedule == "equal steps" else EPOCHS


def _name(kind: str, schedule: str, amount: int) -> str:
    """Return the name of an arm. At the usual amount both schedules are one."""
    return kind if amount == USUAL else f"{kind}-{amount}-{schedule.replace(' ', '-')}"


def _arm(kind: str, schedule: str, amount: int) -> Arm:
    """Return the arm that learns from an amount."""
    arm = KINDS[kind]
    settings = {**arm.settings, "optim": {"epochs": _epochs(schedule, amount)}}
    if amount < LARGE.key_frames:
        settings["split"] = part(amount)
    return replace(arm, title=f"{kind}, {amount} key frames, {schedule}", settings=settings)


CHOICES = tuple(product(KINDS, SCHEDULES, AMOUNTS))
ARMS: dict[str, Arm | None] = {"none": None, **{_name(*choice): _arm(*choice) for choice in CHOICES}}
CURVES = {
    "no BEV pretraining": dict.fromkeys(AMOUNTS, "none"),
    **{
        f"{kind}, {schedule}": {amount: _name(kind, schedule, amount) for amount in AMOUNTS}
        for kind, schedule in product(KINDS, SCHEDULES)
    },
}

if __name__ == "__main__":
    axis = "unlabelled key frames"
    ask(Question(__doc__ or "", ARMS, "amount.png", world=LARGE, curves=CURVES, axis=axis))
