"""Jobs that processes share through a folder: each is done once, by one of them, and survives a kill."""

import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

import occfeat
from occfeat.runs.folder import OCCUPANCY, RESULTS, ROBUSTNESS_TABLES, RunFolder


def work(one_round: Callable[[], bool]) -> None:
    """Look at every job again and again until one round finds all of them done."""
    while not one_round():
        time.sleep(5)


def is_pretrained(run: Path) -> bool:
    """Return whether a pretraining run has finished."""
    return (RunFolder(run).pictures / OCCUPANCY).is_file()  # the last thing it writes


def results_file(run: Path, split: str) -> Path:
    """Metrics of a fine-tuning run."""
    return RunFolder(run).evaluation(split) / RESULTS


def is_finetuned(run: Path, split: str | None) -> bool:
    """Return whether a fine-tuning run has finished, with its evaluation on a split if there is one."""
    return (RunFolder(run).card if split is None else results_file(run, split)).is_file()


def pretrain(out: Path, **settings: Any) -> bool:
    """Pretrain, or go on with it; whether it is done."""
    with claim(out) as mine:
        if mine and not is_pretrained(out):
            _run(occfeat.pretrain, out, settings)
        return mine


def finetune(
    out: Path, split: str | None, /, *, recipe: str, keep_checkpoint: bool = False, **settings: Any
) -> bool:
    """Fine-tune and evaluate on a split, or go on with it; whether it is done.

    Args:
        out: Folder of the run.
        split: Where to evaluate. None: nowhere.
        recipe: How to learn. What was pretrained learns at the rates of its recipe only if it is named again.
        keep_checkpoint: Whether to keep the checkpoint.
        **settings: Settings that differ.
    """
    with claim(out) as mine:
        if mine and not is_finetuned(out, split):
            _run(occfeat.finetune, out, {"recipe": recipe, **settings, "val_split": split})
            if not keep_checkpoint:
                shutil.rmtree(RunFolder(out).checkpoint.parent)
        return mine


def is_evaluated(out: Path) -> bool:
    """Return whether an evaluation under corruptions has finished."""
    return (out / ROBUSTNESS_TABLES).is_file()


def evaluate(run: Path, out: Path, **settings: Any) -> bool:
    """Evaluate a run under corruptions, or go on with it; whether it is done."""
    with claim(run) as mine:
        if mine and not is_evaluated(out):
            occfeat.evaluate(run, out=out, **settings)
        return mine


def _run(command: Callable[..., object], out: Path, settings: dict[str, Any]) -> None:
    """Run a command, or resume what it began."""
    if RunFolder(out).checkpoint.is_file():
        command(resume=out)
        return
    shutil.rmtree(out, ignore_errors=True)  # stopped before its first checkpoint
    command(out=out, **settings)


@contextmanager
def claim(out: Path) -> Iterator[bool]:
    """Yield whether the job is this process's; it is given back when the process ends, however it ends."""
    locks = out.parent / "locks"
    locks.mkdir(parents=True, exist_ok=True)
    try:
        with FileLock(locks / out.name, timeout=0):
            yield True
    except Timeout:
        yield False
