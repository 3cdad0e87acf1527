"""The whole way on the procedural street, on two processor cores and without any download.

A world, its check, a picture of its calibration, pretraining without labels, fine-tuning with labels,
evaluation in a town that was not trained in. `make demo` runs it. It can be interrupted and run again: what
is finished is kept, and what was begun goes on.

Usage: python experiments/demo.py [FOLDER]     (default: runs/demo)
"""

import logging
import sys
import time
from pathlib import Path

import occfeat
from occfeat.commands.outcome import RunOutcome

STREET = {"scenes": 16, "val_scenes": 4, "test_scenes": 0, "lights": ("noon", "overcast")}


STARTED = time.monotonic()


def say(text: str) -> None:
    """A headed line with the seconds since the start."""
    print(f"\n== {text} ({time.monotonic() - STARTED:.0f} s)", flush=True)


def learn(command: str, out: Path, **settings: object) -> RunOutcome | None:
    """Start a run, go on with it, or leave it if it has finished."""
    run = {"pretrain": occfeat.pretrain, "finetune": occfeat.finetune}[command]
    if (out / "model.json").exists():
        print(f"{out} is finished.")
        return None
    if (out / "checkpoints" / "last.pt").exists():
        return run(resume=out)
    return run(out=out, recipe="cpu-small", **settings)


def main(out: Path) -> None:
    """Every stage in turn."""
    street = out / "street"
    say("a street world: 16 scenes of 4 key frames, six cameras and a LiDAR")
    print(occfeat.build_world(street, **STREET).text)
    say("is it complete?")
    print(occfeat.check(street).text)
    say("is its calibration right?")
    if not (out / "calibration.png").exists():
        print(occfeat.view(street, out / "calibration.png", calibration=True).text)
    say("pretraining: LiDAR occupancy and teacher features, no labels")
    learn("pretrain", out / "pretrained", data=street, optim={"epochs": 4}, engine={"log_every": 4})
    say("fine-tuning: vehicles")
    start = out / "pretrained"
    tuned = learn(
        "finetune", out / "tuned", start=start, data=street, optim={"epochs": 5}, engine={"log_every": 4}
    )
    if tuned is not None:
        print(tuned.text)
    say(f"done: look at {out}/calibration.png, {out}/pretrained/pictures and {out}/tuned/pictures")


if __name__ == "__main__":
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    main(Path(sys.argv[1] if len(sys.argv) > 1 else "runs/demo"))
