"""What is pooled between two lines of metrics: figures of the steps, and where the time went."""

import time
from collections.abc import Iterator
from contextlib import contextmanager

import torch
from lightning_fabric import Fabric

from occfeat.learning import Ratio

STAGES = ("loading", "teaching", "learning")
"""Waiting for data; making targets; forward, backward and the optimiser's step."""


class Window:
    """Pools figures over steps; starts empty, or from what a checkpoint had pending."""

    def __init__(self, pending: dict[str, tuple[float, float]] | None = None) -> None:
        self._sums = dict(pending or {})
        self._seconds = dict.fromkeys(STAGES, 0.0)

    @contextmanager
    def spent_on(self, stage: str) -> Iterator[None]:
        """Count the time of a block towards a stage."""
        started = time.perf_counter()
        yield
        self._seconds[stage] += time.perf_counter() - started

    def add(self, figures: dict[str, Ratio]) -> None:
        """Pool the figures of one forward pass."""
        for name, ratio in figures.items():
            numerator, denominator = self._sums.get(name, (0.0, 0.0))
            self._sums[name] = (
                numerator + float(ratio.numerator),
                denominator + float(ratio.denominator),
            )

    def pending(self) -> dict[str, tuple[float, float]]:
        """Sums so far, as plain numbers for a checkpoint."""
        return dict(self._sums)

    def figures(self, fabric: Fabric) -> dict[str, float]:
        """Pooled figures over all processes, and the share of time of each stage."""
        total = sum(self._seconds.values()) or 1.0
        shares = {f"time/{stage}": seconds / total for stage, seconds in self._seconds.items()}
        return {name: _pooled(sums, fabric) for name, sums in self._sums.items()} | shares


def _pooled(sums: tuple[float, float], fabric: Fabric) -> float:
    if fabric.world_size > 1:
        reduced = fabric.all_reduce(
            torch.tensor(sums, dtype=torch.float64, device=fabric.device), reduce_op="sum"
        )
        sums = (float(reduced[0]), float(reduced[1]))
    return sums[0] / sums[1] if sums[1] else float("nan")
