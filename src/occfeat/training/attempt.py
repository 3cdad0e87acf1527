"""One optimiser step under way: what it saw, and whether all of it is finite."""

import logging
from collections.abc import Sequence
from dataclasses import dataclass, field

import torch
from jaxtyping import Float
from torch import Tensor, nn

from occfeat.errors import TrainingError
from occfeat.training.step import Ratio, Step

logger = logging.getLogger(__name__)


@dataclass
class Attempt:
    """Collects the micro-batches of a step; nothing of it counts before the step is known to be sound."""

    tokens: list[str] = field(default_factory=list)
    """Key frames it saw; once a loss is not finite, those that gave it."""
    metrics: list[dict[str, Ratio]] = field(default_factory=list)
    """Metrics of its micro-batches."""
    trouble: str = ""
    """What is not finite; empty if all is well."""

    def add(self, step: Step, tokens: Sequence[str]) -> None:
        """Note what a forward pass gave, before its gradients are computed."""
        self.metrics.append(step.metrics)
        if self.trouble:
            return
        if torch.isfinite(step.loss):
            self.tokens += tokens
            return
        names = [name for name, ratio in step.metrics.items() if not torch.isfinite(ratio.numerator)]
        self.tokens = list(tokens)
        self.trouble = f"The loss is not finite ({', '.join(names) or 'loss'})"

    def gradient_norm(self, network: nn.Module) -> Float[Tensor, ""]:
        """Norm of all gradients; one that is not finite is named before clipping could spread it."""
        gradients = {
            name: parameter.grad
            for name, parameter in network.named_parameters()
            if parameter.grad is not None
        }
        norm = nn.utils.get_total_norm(list(gradients.values()))
        if not self.trouble and not torch.isfinite(norm):
            names = [name for name, gradient in gradients.items() if not gradient.isfinite().all()]
            what = f"gradient of {names[0]}" if names else "norm of the gradients"
            self.trouble = f"The {what} is not finite"
        return norm

    def require_few(self, step: int, skipped: int, allowed: int) -> None:
        """Say that a step is left out, and stop when it is one too many.

        Args:
            step: Number of the step.
            skipped: How many were left out so far, this one included.
            allowed: The setting `engine.max_skipped`.

        Raises:
            TrainingError: There are more.
        """
        trouble = self.trouble or "A loss or gradient is not finite in another process"
        if skipped <= allowed:
            shown = ", ".join(self.tokens[:3])
            message = "%s at step %d: left out (%d so far, %d allowed). Key frames: %s"
            logger.warning(message, trouble, step, skipped, allowed, shown)
            return
        raise TrainingError(
            f"{trouble} at step {step}, at these key frames:",
            first=self.tokens,
            hint="Lower `--optim.learning-rate`, look at these key frames with `occfeat view`, or leave out"
            " such steps with `--engine.max-skipped`.",
        )
