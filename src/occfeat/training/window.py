"""Metrics and times, pooled between two rows of the metrics file."""

import time
from collections.abc import Iterator
from contextlib import contextmanager

import torch
from lightning_fabric import Fabric

from occfeat.training.gathering import gather_texts

STAGES = ("loading", "teaching", "learning")
"""Waiting for data; computing targets; forward, backward and the optimiser's step."""


class Window:
    """Metrics pooled over steps; starts empty, or from what a checkpoint had pending."""

    def __init__(self, pending: dict[str, tuple[float, float]] | None = None) -> None:
        self._sums = dict(pending or {})
        self._seconds = dict.fromkeys(STAGES, 0.0)

    @contextmanager
    def spent_on(self, stage: str) -> Iterator[None]:
        """Add the time of a block to a stage."""
        started = time.perf_counter()
        yield
        self._seconds[stage] += time.perf_counter() - started

    def add(self, metrics: dict[str, tuple[float, float]]) -> None:
        """Pool the metrics of one forward pass, each as (numerator, denominator)."""
        for name, (more, counted) in metrics.items():
            numerator, denominator = self._sums.get(name, (0.0, 0.0))
            self._sums[name] = (numerator + more, denominator + counted)

    def pending(self, fabric: Fabric) -> dict[str, tuple[float, float]]:
        """Return the sums so far over all processes, as plain numbers for a checkpoint.

        A process may lack metrics of others, those of a data set that it has not met.
        """
        if fabric.world_size == 1:
            return dict(self._sums)
        names = sorted(set().union(*gather_texts(self._sums, fabric)))
        if not names:
            return {}
        mine = [self._sums.get(name, (0.0, 0.0)) for name in names]
        sums = torch.tensor(mine, dtype=torch.float64, device=fabric.device)
        pooled = dict(
            zip(names, torch.as_tensor(fabric.all_reduce(sums, reduce_op="sum")).tolist(), strict=True)
        )
        return {name: (pooled[name][0], pooled[name][1]) for name in dict.fromkeys((*self._sums, *names))}

    def metrics(self, fabric: Fabric) -> dict[str, float]:
        """Return the metrics pooled over all processes, and the share of time of each stage in this one."""
        total = sum(self._seconds.values()) or 1.0
        shares = {f"time/{stage}": seconds / total for stage, seconds in self._seconds.items()}
        pooled = self.pending(fabric).items()
        return {name: over / under if under else float("nan") for name, (over, under) in pooled} | shares
