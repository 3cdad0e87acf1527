"""One optimiser step in progress: its key frames, its metrics, and whether all of it is finite."""

from collections.abc import Sequence
from dataclasses import dataclass, field

import torch
from jaxtyping import Float
from torch import Tensor, nn

from occfeat.errors import TrainingError
from occfeat.training.step import Ratio, Step


@dataclass
class Attempt:
    """The micro-batches of one optimiser step; nothing of it counts before all of it is finite."""

    tokens: list[str] = field(default_factory=list)
    """Its key frames; once a loss is not finite, those of that loss."""
    metrics: list[dict[str, Ratio]] = field(default_factory=list)
    """Metrics of its micro-batches."""
    trouble: str = ""
    """What is not finite; empty if all is well."""

    def add(self, step: Step, tokens: Sequence[str]) -> None:
        """Record the result of a forward pass, before its gradients are computed."""
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
        """Return the norm of all gradients; name one that is not finite before clipping could spread it."""
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

    def error(self, step: int) -> TrainingError:
        """Return the error that stops a run at a step which is not finite."""
        trouble = self.trouble or "A loss or gradient is not finite in another process"
        hint = "Lower `--optim.learning-rate`, or look at these key frames with `occfeat view`."
        return TrainingError(f"{trouble} at step {step}, at these key frames:", first=self.tokens, hint=hint)
