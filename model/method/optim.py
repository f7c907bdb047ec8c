"""The optimiser of a detector, and its parameter groups.

In: a detector and a recipe's numbers. Out: a torch optimiser, whose own state is all that is needed to resume.
Source: the released recipes of MixPL (arXiv 2312.07006).
"""

from __future__ import annotations

from typing import Literal, assert_never

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
