"""One optimiser step in progress: its key frames, its metrics, and whether all of it is finite."""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

import torch
from jaxtyping import Float
from torch import Tensor, nn

from occfeat.errors import TrainingError
from occfeat.training.step import Step

Sums = dict[str, tuple[float, float]]
"""Numerator and denominator of each metric, by its name."""


@dataclass
class Attempt:
    """The micro-batches of one optimiser step; nothing of it counts before all of it is finite."""

    tokens: list[str] = field(default_factory=list)
    """Its key frames; once a loss is not finite, those of that loss."""
    metrics: list[Sums] = field(default_factory=list)
    """Metrics of its micro-batches, after `finish`."""
    trouble: str = ""
    """What is not finite, after `finish`; empty if all is well."""
    _passes: list[tuple[Step, Sequence[str]]] = field(default_factory=list)

    def add(self, step: Step, tokens: Sequence[str]) -> None:
        """Record the result of a forward pass, with losses and metrics still on the device."""
        self._passes.append((step._replace(loss=step.loss.detach()), tokens))

    def finish(self, network: nn.Module) -> Float[Tensor, ""]:
        """Read losses, metrics and the norm of all gradients; return that norm, on the device.

        This is the only place where a step waits for the device.
        """
        gradients = {
            name: parameter.grad
            for name, parameter in network.named_parameters()
            if parameter.grad is not None
        }
        norm = nn.utils.get_total_norm(list(gradients.values()))
        ratios = [ratio for step, _ in self._passes for ratio in step.metrics.values()]
        losses = [step.loss for step, _ in self._passes]
        numbers = iter(_read([norm, *losses, *(one for ratio in ratios for one in ratio)]))
        norm_read, losses_read = next(numbers), [next(numbers) for _ in losses]
        for step, _ in self._passes:
            self.metrics.append({name: (next(numbers), next(numbers)) for name in step.metrics})
        self._find_trouble(losses_read)
        if not self.trouble and not math.isfinite(norm_read):
            names = [name for name, gradient in gradients.items() if not gradient.isfinite().all()]
            what = f"gradient of {names[0]}" if names else "norm of the gradients"
            self.trouble = f"The {what} is not finite"
        return norm

    def _find_trouble(self, losses: Iterable[float]) -> None:
        """Name the first loss that is not finite, and its key frames."""
        for loss, (_, tokens), metrics in zip(losses, self._passes, self.metrics, strict=True):
            if not math.isfinite(loss):
                names = [name for name, (numerator, _) in metrics.items() if not math.isfinite(numerator)]
                self.trouble = f"The loss is not finite ({', '.join(names) or 'loss'})"
                self.tokens = list(tokens)
                return
            self.tokens += tokens

    def error(self, step: int) -> TrainingError:
        """Return the error that stops a run at a step which is not finite."""
        trouble = self.trouble or "A loss or gradient is not finite in another process"
        hint = "Lower `--optim.learning-rate`, or look at these key frames with `occfeat view`."
        return TrainingError(f"{trouble} at step {step}, at these key frames:", first=self.tokens, hint=hint)


def _read(scalars: Sequence[Tensor]) -> list[float]:
    """Return the values of several scalars, in one transfer."""
    device = scalars[0].device
    read: list[float] = torch.stack([one.float().to(device) for one in scalars]).tolist()
    return read
