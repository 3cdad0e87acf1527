"""AdamW and the one-cycle schedule."""

from typing import Any

import torch
from torch import nn

from occfeat.settings.sections import OptimConfig

MOMENTS = ("exp_avg", "exp_avg_sq")
"""What AdamW remembers of every parameter, beside the number of its steps."""


def build_optimizer(network: nn.Module, config: OptimConfig) -> torch.optim.AdamW:
    """Return AdamW over all parameters that learn, with a learning rate for the student and one for the rest.

    Args:
        network: A network that learns. The parameters of its attribute `student`, a module, are those of the
            student; a network without it has none.
        config: Learning rates and weight decay.
    """
    student = getattr(network, "student", None)
    of_student = {id(one) for one in student.parameters()} if isinstance(student, nn.Module) else set()
    parts: dict[bool, list[nn.Parameter]] = {True: [], False: []}
    for parameter in network.parameters():
        if parameter.requires_grad:
            parts[id(parameter) in of_student].append(parameter)
    shares = {True: config.student_rate, False: 1.0}
    groups = [{"params": part, "share": shares[whose]} for whose, part in parts.items() if part]
    optimizer = torch.optim.AdamW(groups, weight_decay=config.weight_decay)
    set_learning_rate(optimizer, config.learning_rate)
    return optimizer


def set_learning_rate(optimizer: torch.optim.Optimizer, rate: float) -> None:
    """Give each group of `build_optimizer` its share of a rate."""
    for group in optimizer.param_groups:
        group["lr"] = rate * group["share"]


def restore_optimizer(optimizer: torch.optim.AdamW, state: dict[str, Any]) -> None:
    """Give an optimiser the moments of a checkpoint; its settings remain those of the run.

    Raises:
        KeyError: The state does not hold moments.
        ValueError: They are not those of these parameters.
    """
    groups = optimizer.state_dict()["param_groups"]
    parameters = [parameter for group in optimizer.param_groups for parameter in group["params"]]
    restored = {}
    for number, moments in state["state"].items():
        if number not in range(len(parameters)) or set(moments) != {"step", *MOMENTS}:
            raise ValueError(f"expected the moments of {len(parameters)} parameters, got others for {number}")
        wanted, count = parameters[number].detach(), moments["step"]
        kinds = {(moments[name].shape, moments[name].dtype, moments[name].layout) for name in MOMENTS}
        if kinds != {(wanted.shape, wanted.dtype, wanted.layout)}:
            raise ValueError(
                f"expected moments of {wanted.dtype} {tuple(wanted.shape)} for parameter {number}, got others"
            )
        if count.shape != () or count.dtype != torch.float32 or not 0 <= float(count) < float("inf"):
            raise ValueError(f"expected a count of steps for parameter {number}, got {count}")
        restored[number] = {name: value.detach().clone() for name, value in moments.items()}
    optimizer.load_state_dict({"state": restored, "param_groups": groups})


def learning_rate_at(step: int, steps: int, config: OptimConfig) -> float:
    """Return the learning rate of a step: linearly up for `warmup` of the run, then down to almost 0.

    A function of the step alone, so that a resumed run has no schedule to restore. The same lines as
    torch's `OneCycleLR` with its default start (1/25) and end (1e-4 of that), Simple-BEV's schedule.
    """
    peak = config.learning_rate
    start, end = peak / 25, peak / 25 * 1e-4
    turn = config.warmup * steps - 1
    if step <= turn:
        return start + (peak - start) * step / turn if turn > 0 else peak
    last = steps - 1
    return peak + (end - peak) * (step - turn) / (last - turn) if last > turn else peak
