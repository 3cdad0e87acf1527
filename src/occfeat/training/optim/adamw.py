"""AdamW and the one-cycle schedule."""

from typing import Any

import torch
from torch import nn

from occfeat.errors import SettingsError
from occfeat.models.encoders.encoder import ImageEncoder
from occfeat.settings.sections import OptimConfig

MOMENTS = ("exp_avg", "exp_avg_sq")
"""What AdamW remembers of every parameter, beside the number of its steps."""


def build_optimizer(network: nn.Module, config: OptimConfig) -> torch.optim.AdamW:
    """Return AdamW over all parameters that learn, each with its share of the learning rate.

    Args:
        network: A network that learns. The parameters of its attribute `student`, a module, are those of the
            student; a network without it has none.
        config: Learning rates and weight decay.

    Raises:
        SettingsError: The rates of layers are to differ, and the student has no known layers.
    """
    student = getattr(network, "student", None)
    shares = _shares_of(student, config) if isinstance(student, nn.Module) else {}
    parts: dict[tuple[bool, float], list[nn.Parameter]] = {}
    for parameter in network.parameters():
        if parameter.requires_grad:
            of_student = id(parameter) in shares
            parts.setdefault((not of_student, shares.get(id(parameter), 1.0)), []).append(parameter)
    student_first = sorted(parts, key=lambda part: part[0])
    groups = [{"params": parts[part], "share": part[1]} for part in student_first]
    optimizer = torch.optim.AdamW(groups, weight_decay=config.weight_decay)
    set_learning_rate(optimizer, config.learning_rate)
    return optimizer


def require_layers(student: nn.Module, config: OptimConfig) -> None:
    """Refuse rates that differ by layer for a student whose layers are not known.

    Raises:
        SettingsError: They are not.
    """
    _shares_of(student, config)


def _shares_of(student: nn.Module, config: OptimConfig) -> dict[int, float]:
    """Return the share of the learning rate of each parameter of a student, by its identity.

    As in timm, the last layer of the backbone learns at `layer_decay` times the rate of what is behind it.
    """
    shares = {id(parameter): config.student_rate for parameter in student.parameters()}
    if config.layer_decay == 1:
        return shares
    encoders = [one for one in student.modules() if isinstance(one, ImageEncoder)]
    if not encoders:
        raise SettingsError(
            f"Expected a student with an image encoder for layer_decay {config.layer_decay}, "
            f"got {type(student).__name__} without one.",
            hint="Set optim.layer_decay to 1, or use a student whose encoder is an `ImageEncoder`.",
        )
    for encoder in encoders:
        for depth, layer in enumerate(reversed(encoder.layers()), start=1):
            share = config.student_rate * config.layer_decay**depth
            shares.update({id(parameter): share for parameter in layer})
    return shares


def set_learning_rate(optimizer: torch.optim.Optimizer, rate: float) -> None:
    """Give each group of `build_optimizer` its share of a rate."""
    for group in optimizer.param_groups:
        group["lr"] = rate * group["share"]


def restore_optimizer(optimizer: torch.optim.AdamW, state: dict[str, Any]) -> None:
    """Give an optimiser the moments of a checkpoint; its settings remain those of the run.

    Raises:
        KeyError: The state does not hold moments.
        ValueError: They are not those of these parameters, or are in another order.
    """
    groups = optimizer.state_dict()["param_groups"]
    then, now = ([len(group["params"]) for group in some] for some in (state["param_groups"], groups))
    if then != now:  # moments are found by their places in the groups, which `optim.layer_decay` makes
        raise ValueError(
            f"expected groups of {now} parameters, got {then}; if optim.layer_decay was edited, restore it"
        )
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
