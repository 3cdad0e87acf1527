"""Work through the first three experiments: pretrain every arm, fine-tune it, evaluate it.

    PYTHONPATH=experiments python -m concluded.first_three.work STREET RUNS [--split val] [--seeds 0]
      [--arms none occupancy ...] [--from-ledger]

What has a result in RUNS is skipped, everything else is trained. With --from-ledger (split test), what has a
row in `first_three.jsonl` is skipped, too, and its metrics are put into RUNS, without networks: for going on
where another machine stopped. The committed rows are all of the work, so nothing is left of it then. Several
processes can share the work: each takes what no other is at. STREET needs `teacher-cache` and `oracle-cache`
beside it, as `run.sh` makes them.
"""

import json
from itertools import product
from typing import Any

from concluded.first_three.plan import (
    ARMS,
    LABELS,
    LEDGER,
    MODES,
    Plan,
    Tuning,
    parser,
    read_arguments,
    restore,
)
from harness import jobs
from harness.settings import CLASSES, PACKAGED, TRUTH, TURNED


def one_round(plan: Plan) -> bool:
    """Look at every job once; whether all of them are done."""
    done = True
    for share, seed in product(plan.shares, plan.seeds):
        for arm in plan.arms:
            if plan.needs_pretraining(arm, seed):
                done &= _pretrain(plan, arm, seed)
        for tuning in plan.tunings():
            if (tuning.share, tuning.seed) == (share, seed):
                done &= plan.results(tuning).is_file() or _finetune(plan, tuning)
    return done


def _pretrain(plan: Plan, arm: str, seed: int) -> bool:
    """Pretrain, or go on with it; return whether it is done."""
    chosen = ARMS[arm]
    cache = plan.street.parent / ("oracle-cache" if chosen.oracle else "teacher-cache")
    return jobs.pretrain(
        plan.pretrained(arm, seed),
        recipe="cpu-small",
        data=plan.street,
        teacher=TRUTH if chosen.oracle else PACKAGED,
        teacher_cache=cache,
        head={"feature_channels": 64 if chosen.branch else None},
        loss=chosen.loss,
        augment=TURNED,
        optim={"epochs": 6},
        engine={"seed": seed, "workers": 0},
    )


def _finetune(plan: Plan, tuning: Tuning) -> bool:
    """Fine-tune, or go on with it; return whether it is done."""
    labels, mode = LABELS[tuning.share], MODES[tuning.mode]
    base: dict[str, Any] = {}
    if ARMS[tuning.arm].loss is not None:
        base = {"start": plan.pretrained(tuning.arm, tuning.seed)}
        if not jobs.is_pretrained(base["start"]):
            return False
    done = jobs.finetune(
        plan.runs / tuning.name,
        plan.split,
        **base,
        recipe="cpu-small",
        data=plan.street,
        classes=CLASSES,
        label_fraction=labels.fraction,
        label_draw="key-frame",
        label_seed=tuning.draw,
        freeze=mode.freeze,
        pictures=int(tuning.draw == 0),
        augment=TURNED,
        optim={
            "epochs": labels.epochs,
            "batch_size": labels.batch_size,
            "learning_rate": mode.rate,
            "student_rate": mode.student_rate,
        },
        engine={"seed": tuning.seed, "workers": 0},
    )
    if done:
        _say(plan, tuning)
    return done


def _say(plan: Plan, tuning: Tuning) -> None:
    """Print a line for whoever waits."""
    done = [plan.results(one).is_file() for one in plan.tunings()]
    metrics = json.loads(plan.results(tuning).read_text(encoding="utf-8"))["metrics"]
    vehicle, layers = metrics["vehicle_iou/visible"], metrics["mean_iou/map"]
    count = f"{sum(done)}/{len(done)}"
    print(f"{count} {tuning.name}: vehicle {vehicle:.3f}, map {layers:.3f}", flush=True)


def main() -> None:
    """Read the command line."""
    given, plan = read_arguments(parser(__doc__, split="val"))
    if given.from_ledger:
        restore(plan, LEDGER)
    jobs.work(lambda: one_round(plan))


if __name__ == "__main__":
    main()
