"""From a gradient to changed weights: parameter groups, learning-rate warm-up, clipping, the optimiser.

In: a detector and a recipe's numbers. Out: a torch optimiser, and the learning rate of any step as a pure
function of that step, so that nothing but the optimiser's own state is needed to resume.
Source: the released recipes of MixPL (arXiv 2312.07006).
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal, assert_never

from torch import nn
from torch.optim import SGD, AdamW, Optimizer

from model.detector import Detector
from model.errors import ModelError

OptimizerName = Literal["sgd", "adamw"]


def build_optimizer(
    detector: Detector,
    *,
    name: OptimizerName,
    lr: float,
    weight_decay: float,
    momentum: float = 0.9,
    backbone_lr_multiplier: float = 1.0,
) -> Optimizer:
    """Return an optimiser over the parameters that learn.

    Weight decay applies to every parameter, norms and biases included, as in the released recipes: sgd,
    lr 0.01, momentum 0.9, weight decay 1e-4; adamw, lr 1e-4, weight decay 1e-4, backbone x 0.1. The compact
    FCOS learns with adamw, lr 3e-3, weight decay 0.05. `momentum` is of sgd alone.
    """
    if lr <= 0 or weight_decay < 0 or backbone_lr_multiplier <= 0:
        raise ModelError(
            "expected lr > 0, weight_decay >= 0 and backbone_lr_multiplier > 0, "
            f"got {lr}, {weight_decay}, {backbone_lr_multiplier}"
        )
    groups = parameter_groups(detector, lr=lr, backbone_lr_multiplier=backbone_lr_multiplier)
    match name:
        case "sgd":
            return SGD(groups, lr=lr, momentum=momentum, weight_decay=weight_decay, fused=True)
        case "adamw":
            return AdamW(groups, lr=lr, weight_decay=weight_decay, fused=True)
        case _:
            assert_never(name)


def parameter_groups(
    detector: Detector, *, lr: float, backbone_lr_multiplier: float = 1.0
) -> list[dict[str, object]]:
    """Return the learning parameters as groups with `initial_lr`, what `Schedule` scales.

    First the backbone, then everything else; parameters that are frozen now are left out.
    """
    backbone = {id(parameter) for parameter in detector.backbone_parameters()}
    learning = [parameter for parameter in detector.parameters() if parameter.requires_grad]
    parts = (
        ([parameter for parameter in learning if id(parameter) in backbone], lr * backbone_lr_multiplier),
        ([parameter for parameter in learning if id(parameter) not in backbone], lr),
    )
    return [{"params": params, "lr": rate, "initial_lr": rate} for params, rate in parts if params]


@dataclass(frozen=True, kw_only=True, slots=True)
class Schedule:
    """The learning rate of every step: a line up to the base rate, then constant."""

    warmup_steps: int = 500
    """Steps of linear warm-up; 0 starts at the base rate."""
    warmup_start: float = 0.001
    """Factor on the base rate at step 0."""

    def __post_init__(self) -> None:
        if self.warmup_steps < 0 or not 0 <= self.warmup_start <= 1:
            raise ModelError(
                "expected warmup_steps >= 0 and warmup_start in 0 .. 1, "
                f"got {self.warmup_steps}, {self.warmup_start}"
            )

    def factor(self, step: int) -> float:
        """Return the factor on the base rate at `step` (from 0)."""
        if step >= self.warmup_steps:
            return 1.0
        return self.warmup_start + (1.0 - self.warmup_start) * step / self.warmup_steps

    def apply(self, optimizer: Optimizer, step: int) -> float:
        """Set the learning rates of `step` and return the largest."""
        factor = self.factor(step)
        for group in optimizer.param_groups:
            group["lr"] = group["initial_lr"] * factor
        return max(float(group["lr"]) for group in optimizer.param_groups)


def clip_gradient(parameters: Iterable[nn.Parameter], max_norm: float) -> float:
    """Scale all gradients so that their joint L2 norm is at most `max_norm`; return the norm before.

    The norm is infinite or NaN when a gradient is: look at it before the optimiser steps.
    """
    return float(nn.utils.clip_grad_norm_(parameters, max_norm))


class WeightUpdate:
    """What changes a student's weights once its gradient is there."""

    def __init__(
        self, student: Detector, optimizer: Optimizer, schedule: Schedule, *, clip_norm: float
    ) -> None:
        """`clip_norm`: the largest L2 norm of the whole gradient."""
        self.optimizer = optimizer
        self._student, self._schedule, self._clip_norm = student, schedule, clip_norm

    def apply(self, step: int) -> tuple[float, float]:
        """Take the optimiser's step; return the gradient's norm before clipping, and the learning rate.

        A norm that is not finite changes no weight.
        """
        learning_rate = self._schedule.apply(self.optimizer, step)
        norm = clip_gradient(self._student.parameters(), self._clip_norm)
        if math.isfinite(norm):
            self.optimizer.step()
        return norm, learning_rate
