"""From a gradient to changed weights: the schedule's learning rate, clipping, and the optimiser's step.

In: a student whose gradient is there, and whether the step is void. Out: changed weights, and the gradient's norm
as a tensor on the device. Guaranteed: a void step, and one whose gradient is not finite, changes no weight and no
state of the optimiser; the host is never waited for, as the device itself decides that (`found_inf`, which torch's
fused optimisers look at on CPU and GPU alike).
"""

from __future__ import annotations

from collections.abc import Iterable

from torch import Tensor, nn
from torch.optim import Optimizer

from model.detector import Detector
from model.method.schedule import Schedule


class WeightUpdate:
    """What changes a student's weights once its gradient is there."""

    def __init__(
        self, student: Detector, optimizer: Optimizer, schedule: Schedule, *, clip_norm: float
    ) -> None:
        """`optimizer`: a fused one. `clip_norm`: the largest L2 norm of the whole gradient."""
        assert all(group["fused"] for group in optimizer.param_groups), (
            "only fused optimisers know `found_inf`"
        )
        self.optimizer = optimizer
        self._student, self._schedule, self._clip_norm = student, schedule, clip_norm

    def apply(self, step: int, void: Tensor) -> tuple[Tensor, float]:
        """Take the optimiser's step; return the gradient's norm before clipping, and the learning rate.

        `void`: a bool on the device of the weights; where it is true nothing is changed.
        """
        learning_rate = self._schedule.apply(self.optimizer, step)
        norm = clip_gradient(self._student.parameters(), self._clip_norm)
        self.optimizer.found_inf = (void | ~norm.isfinite()).float()  # type: ignore[attr-defined]
        self.optimizer.step()
        return norm, learning_rate


def clip_gradient(parameters: Iterable[nn.Parameter], max_norm: float) -> Tensor:
    """Scale all gradients so that their joint L2 norm is at most `max_norm`; return the norm before.

    The norm is infinite or NaN when a gradient is.
    """
    return nn.utils.clip_grad_norm_(parameters, max_norm)
