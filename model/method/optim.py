"""From a gradient to changed weights: parameter groups, clipping, the optimiser.

In: a detector, a recipe's numbers and a schedule, a pure function of the step. Out: a torch optimiser, whose own
state is all that is needed to resume.
Source: the released recipes of MixPL (arXiv 2312.07006).
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Literal, assert_never

from torch import nn
from torch.optim import SGD, AdamW, Optimizer

from model.detector import Detector
from model.errors import ModelError
from model.method.schedule import Schedule

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

    Rates and decay of each group are the given ones times the factors of the detector's groups. The released
    recipes: sgd, lr 0.01, momentum 0.9, weight decay 1e-4; adamw, lr 1e-4, weight decay 1e-4, backbone x 0.1. The
    compact FCOS learns with adamw, lr 3e-3, weight decay 0.05. `momentum` is of sgd alone.
    """
    if lr <= 0 or weight_decay < 0 or backbone_lr_multiplier <= 0:
        raise ModelError(
            "expected lr > 0, weight_decay >= 0 and backbone_lr_multiplier > 0, "
            f"got {lr}, {weight_decay}, {backbone_lr_multiplier}"
        )
    groups = parameter_groups(
        detector, lr=lr, weight_decay=weight_decay, backbone_lr_multiplier=backbone_lr_multiplier
    )
    match name:
        case "sgd":
            return SGD(groups, lr=lr, momentum=momentum, weight_decay=weight_decay, fused=True)
        case "adamw":
            return AdamW(groups, lr=lr, weight_decay=weight_decay, fused=True)
        case _:
            assert_never(name)


def parameter_groups(
    detector: Detector, *, lr: float, weight_decay: float = 0.0, backbone_lr_multiplier: float = 1.0
) -> list[dict[str, object]]:
    """Return the detector's groups with rate, `initial_lr` (what `Schedule` scales) and decay of each.

    Parameters that are frozen now are left out, and groups of which none is left.
    """
    groups: list[dict[str, object]] = []
    for group in detector.parameter_groups():
        rate = lr * group.lr_factor * (backbone_lr_multiplier if group.name == "backbone" else 1.0)
        decay = weight_decay * group.decay_factor
        params = [parameter for parameter in group.parameters if parameter.requires_grad]
        if params:
            groups.append({"params": params, "lr": rate, "initial_lr": rate, "weight_decay": decay})
    return groups


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
