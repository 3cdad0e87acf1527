"""The paper's claim: do occupancy and features together beat either alone?

    python experiments/claim.py RUNS [--arms none occupancy ...] [--modes fine-tuned linear]
      [--seeds 0 1 2 3 4] [--draws 0 1 2] [--split val] [--report]

Arms after `oracle` are tries: what could make features add to occupancy. Rows go to
`ledgers/street.jsonl`. Choose in the validation town, and report once with `--split test`. `--report` runs
nothing. Tables and plot show the arms, seeds and draws that are named.
"""

from dataclasses import replace
from typing import Any

from harness.question import Question, ask
from harness.settings import PACKAGED
from harness.study import BOTH, EPOCHS, OCCUPANCY, Arm

LONG = {"epochs": 2 * EPOCHS}
BLOCKS = (5, 8, 10)
RANDOM = {"backbone_weights": "none", "freeze_stem": False}
"""A student that knows nothing, so that the teacher can tell it more than ImageNet's weights would."""


def _changed(arm: Arm, title: str, *, cache: str = "", **changes: Any) -> Arm:
    """Return an arm with other settings, and with a cache of its own if its teacher is another."""
    settings = {section: {**arm.settings.get(section, {}), **values} for section, values in changes.items()}
    return replace(arm, title=title, settings={**arm.settings, **settings}, cache=cache)


ARMS: dict[str, Arm | None] = {
    "none": None,
    "occupancy": OCCUPANCY,
    "features": Arm("features only, λ 1", {"loss": {"occupancy": 0, "features": 1}}),
    "raw": Arm("both, λ 0.01 (the paper's)", {"loss": {"features": 0.01}}),
    "both": BOTH,
    "oracle": replace(BOTH, title="the same with an oracle teacher", oracle=True),
    "position": _changed(BOTH, "both, position means taken off", loss={"center": "position"}),
    "ratio": _changed(BOTH, "both, weight held at r = 0.3", loss={"features": "auto", "ratio": 0.3}),
    "long-occupancy": _changed(OCCUPANCY, "occupancy only, twice as long", optim=LONG),
    "long": _changed(BOTH, "both, twice as long", optim=LONG),
    "random-occupancy": _changed(OCCUPANCY, "occupancy only, random weights", student=RANDOM),
    "random": _changed(BOTH, "both, random weights", student=RANDOM),
    "blocks": _changed(
        BOTH, "both, blocks 5, 8 and 10", cache="blocks", teacher={**PACKAGED, "block": BLOCKS}
    ),
}

if __name__ == "__main__":
    ask(Question(__doc__ or "", ARMS, "claim.png"))
