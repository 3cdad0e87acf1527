"""Does every option of the objectives learn? Each on eight key frames, with the picture of its run.

    PYTHONPATH=experiments python -m concluded.learned_options RUNS [--steps 90] [--options window path ...]

Writes a street below RUNS, pretrains `cpu-small` on it with each option, and prints the first and the last
metrics of each. The pictures `learned.png` and `occupancy.png` lie in the folders of the runs. What is there
is not run again.
"""

import argparse
import json
from pathlib import Path
from typing import Any

import occfeat
from harness import jobs
from occfeat.runs.folder import RunFolder

TRANSFORMER: dict[str, Any] = {"name": "packaged", "image_size": (168, 294)}
STAGES: dict[str, Any] = {"name": "tf_efficientnet_lite0", "weights": "packaged", "image_size": (160, 288)}
FEATURES: dict[str, Any] = {"features": 1, "center": "mean"}
OPTIONS: dict[str, dict[str, Any]] = {
    "window": {"loss": {"features": 0, "window_s": 0.5}},
    "times": {"loss": {"features": 0, "times": 1}},
    "path": {
        "loss": {"features": 0, "path": 1, "car_lower_m": (-0.657, -0.865), "car_upper_m": (3.427, 0.865)}
    },
    "features": {"loss": FEATURES},
    "position": {"loss": {"features": 1, "center": "position"}},
    "auto": {"loss": {**FEATURES, "features": "auto", "ratio": 0.3, "ratio_every": 5}},
    "blocks": {"loss": FEATURES, "teacher": {**TRANSFORMER, "block": (7, 10)}},
    "stages": {"loss": FEATURES, "teacher": STAGES},
    "two": {"loss": FEATURES, "second_teacher": STAGES},
    "over-time": {"loss": {**FEATURES, "window_s": 0.5, "features_window_s": 0.6}},
    "averaged": {"loss": {"features": 0}, "optim": {"ema": 0.2}},
}
"""Settings of each option."""
METRICS = ("loss", "occupancy_iou", "occupancy_recall", "window_occupancy_iou", "path_iou", "centered_cosine")
"""Metrics that are printed where there are any, and the IoU at each time."""


def build_street(runs: Path) -> Path:
    """Return the folder of a street of eight key frames with sweeps at 10 Hz."""
    street = runs / "street"
    if not street.is_dir():
        size = {"scenes": 1, "key_frames": 8, "val_scenes": 0, "test_scenes": 0, "image_size": (128, 224)}
        occfeat.build_world(street, sweeps=4, sweep_hz=10, workers=1, lights=("noon",), **size)
    return street


def pretrain(runs: Path, name: str, steps: int) -> Path:
    """Pretrain with an option, and return the folder of the run."""
    out, option = runs / name, OPTIONS[name]
    settings: dict[str, Any] = {"teacher": TRANSFORMER, "head": {"feature_channels": 64}, **option}
    cache = runs / f"cache-{name}"
    if settings["loss"].get("features") and not cache.is_dir():
        teachers = {key: settings[key] for key in ("teacher", "second_teacher") if key in settings}
        occfeat.cache(runs / "street", cache, split="train", recipe="cpu-small", **teachers)
    if settings["loss"].get("features"):
        settings["teacher_cache"] = cache
    settings["optim"] = {"epochs": steps // 2, "batch_size": 4, **option.get("optim", {})}
    settings["engine"] = {"workers": 0, "log_every": 5}
    jobs.pretrain(out, recipe="cpu-small", data=runs / "street", split="train", **settings)
    return out


def row(run: Path) -> str:
    """Return the first and the last metrics of a run as a row of a table."""
    lines = [json.loads(line) for line in RunFolder(run).metrics.read_text(encoding="utf-8").splitlines()]
    names = [name for name in lines[0] if name in METRICS or name.startswith("occupancy_iou_at")]
    found = "; ".join(f"{name} {lines[0][name]:.3g} → {lines[-1][name]:.3g}" for name in names)
    return f"| {run.name} | {found} |"


def main() -> None:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("runs", type=Path)
    parser.add_argument("--steps", type=int, default=90)
    parser.add_argument("--options", nargs="+", default=list(OPTIONS), choices=list(OPTIONS))
    given = parser.parse_args()
    build_street(given.runs)
    for name in given.options:
        print(row(pretrain(given.runs, name, given.steps)), flush=True)


if __name__ == "__main__":
    main()
