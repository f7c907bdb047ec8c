"""The learning rate of every step, as a pure function of its number: warm-up, then constant, in steps or a cosine.

In: a recipe's numbers. Out: a factor on the base rate. Guaranteed: nothing but the step decides, so a resumed run
needs no state of a schedule; the default is that of MixPL's released recipes, warm-up and then constant.
Sources: warm-up and constant, the released recipes of MixPL (arXiv 2312.07006); steps, the 1x schedule of Faster
R-CNN's public code; cosine, SGDR (arXiv 1608.03983) without restarts.
"""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass
from typing import Literal, assert_never

from torch.optim import Optimizer

from model.errors import ModelError

ScheduleName = Literal["constant", "step", "cosine"]


@dataclass(frozen=True, kw_only=True, slots=True)
class Schedule:
    """A line up to the base rate over the warm-up, times what the schedule says after it."""

    name: ScheduleName = "constant"
    """constant; step: times `decay` at each milestone; cosine: half a wave from 1 down to `end`."""
    warmup_steps: int = 500
    """Steps of linear warm-up; 0 starts at the base rate."""
    warmup_start: float = 0.001
    """Factor on the base rate at step 0."""
    milestones: tuple[int, ...] = ()
    """Steps (from 0) from which on the rate is `decay` times smaller, ascending."""
    decay: float = 0.1
    """Factor at each milestone."""
    last_step: int | None = None
    """The step at which the cosine has come down to `end`; it stays there."""
    end: float = 0.0
    """Factor on the base rate at the end of the cosine."""

    def __post_init__(self) -> None:
        if self.warmup_steps < 0 or not 0 <= self.warmup_start <= 1:
            raise ModelError(
                "expected warmup_steps >= 0 and warmup_start in 0 .. 1, "
                f"got {self.warmup_steps}, {self.warmup_start}"
            )
        match self.name:
            case "constant":
                return
            case "step":
                self._check_milestones()
            case "cosine":
                self._check_cosine()
            case _:
                assert_never(self.name)

    def factor(self, step: int) -> float:
        """Return the factor on the base rate at `step` (from 0)."""
        if step < self.warmup_steps:
            return self.warmup_start + (1.0 - self.warmup_start) * step / self.warmup_steps
        match self.name:
            case "constant":
                return 1.0
            case "step":
                return self.decay ** sum(step >= milestone for milestone in self.milestones)
            case "cosine":
                assert self.last_step is not None, "a cosine has an end"
                done = min(1.0, (step - self.warmup_steps) / (self.last_step - self.warmup_steps))
                return self.end + (1.0 - self.end) * (1.0 + math.cos(math.pi * done)) / 2
            case _:
                assert_never(self.name)

    def apply(self, optimizer: Optimizer, step: int) -> float:
        """Set the learning rates of `step` and return the largest."""
        factor = self.factor(step)
        for group in optimizer.param_groups:
            group["lr"] = group["initial_lr"] * factor
        return max(float(group["lr"]) for group in optimizer.param_groups)

    def _check_milestones(self) -> None:
        after = (self.warmup_steps - 1, *self.milestones)
        if not self.milestones or any(later <= sooner for sooner, later in itertools.pairwise(after)):
            raise ModelError(
                f"expected ascending milestones after the warm-up of {self.warmup_steps} steps for the schedule "
                f"step, got {list(self.milestones)}"
            )
        if not 0 < self.decay <= 1:
            raise ModelError(f"expected a decay above 0 and at most 1, got {self.decay}")

    def _check_cosine(self) -> None:
        if self.last_step is None or self.last_step <= self.warmup_steps:
            raise ModelError(
                f"expected a cosine that ends after the warm-up of {self.warmup_steps} steps, got one that ends "
                f"at step {self.last_step}"
            )
        if not 0 <= self.end <= 1:
            raise ModelError(f"expected the end of the cosine in 0 .. 1, got {self.end}")
