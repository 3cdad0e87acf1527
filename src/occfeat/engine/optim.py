"""AdamW and the one-cycle schedule."""

import torch
from torch import nn

from occfeat.config import OptimConfig


def build_optimizer(network: nn.Module, config: OptimConfig) -> torch.optim.AdamW:
    """AdamW over all parameters that learn."""
    parameters = [parameter for parameter in network.parameters() if parameter.requires_grad]
    return torch.optim.AdamW(parameters, lr=config.learning_rate, weight_decay=config.weight_decay)


def learning_rate_at(step: int, steps: int, config: OptimConfig) -> float:
    """Learning rate of a step: up in a straight line for `warmup` of the run, then down to almost 0.

    A function of the step alone, so that a resumed run has no schedule to restore. The same straight lines as
    torch's `OneCycleLR` with its default start (1/25) and end (1e-4 of that), Simple-BEV's schedule.
    """
    peak = config.learning_rate
    start, end = peak / 25, peak / 25 * 1e-4
    turn = config.warmup * steps - 1
    if step <= turn:
        return start + (peak - start) * step / turn if turn > 0 else peak
    last = steps - 1
    return peak + (end - peak) * (step - turn) / (last - turn) if last > turn else peak
