"""The teacher: an exponential moving average (EMA) of the student that predicts and never learns.

In: the student after an optimiser step and the number of that iteration. Out: a detector in eval mode whose
parameters and buffers follow the student's. Guaranteed: what is equal in both stays equal to the bit (frozen
parameters, frozen batch-norm); the update depends on the iteration and the two states alone, so a state dict and
the iteration resume it bit for bit. Source: MixPL (arXiv 2312.07006) section 4 and its released configuration.

Buffers of floating point are averaged with the parameters; others (counts of batches) are copied. The teacher runs
in eval mode and takes no statistics of its own: those of a live batch-norm would stay what they were at the start
while the weights before it move away. They are averaged and not copied because the teacher's weights are averages
over many steps, and the student's newest statistics belong to its newest weights. YOLO's and RT-DETR's moving
averages do so too; mmengine's copies them unless it is asked to average. MixPL's own detectors have frozen
batch-norm, for which all of these are the same.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping

import torch
from torch import Tensor

from model.detector import Detections, Detector, Sizes
from model.errors import ModelError


class Teacher:
    """teacher <- (1 - m) teacher + m student, every `interval` iterations."""

    def __init__(
        self,
        student: Detector,
        *,
        momentum_floor: float = 0.0002,
        warmup_gamma: float = 4.0,
        interval: int = 3,
        batch_scale: float = 1.0,
    ) -> None:
        """Start as a copy of `student`, on its device.

        `batch_scale`: how many times more images a step has than the one that the other numbers are meant for.
        """
        if not 0 < momentum_floor <= 1 or warmup_gamma < 0 or interval < 1 or not batch_scale > 0:
            raise ModelError(
                "expected 0 < momentum_floor <= 1, warmup_gamma >= 0, interval >= 1, batch_scale > 0, "
                f"got {momentum_floor}, {warmup_gamma}, {interval}, {batch_scale}"
            )
        self.momentum_floor = momentum_floor
        self.warmup_gamma = warmup_gamma
        self.interval = interval
        self.batch_scale = batch_scale
        self.detector = copy.deepcopy(student).eval().requires_grad_(False)

    def momentum(self, iteration: int) -> float:
        """Return the student's share m = max(floor, gamma / (gamma + iteration)); 1 at iteration 0.

        With k = `batch_scale` times the images a step, one step stands for k: m is that of iteration k i, and what
        the teacher keeps is (1 - m)^k ("How to Scale Your EMA", arXiv 2307.13813, definition 1.2).
        """
        if iteration == 0:
            return 1.0
        if self.batch_scale == 1:
            return max(self.momentum_floor, self.warmup_gamma / (self.warmup_gamma + iteration))
        scaled = self.warmup_gamma / (self.warmup_gamma + self.batch_scale * iteration)
        return float(1.0 - (1.0 - max(self.momentum_floor, scaled)) ** self.batch_scale)

    @torch.no_grad()
    def update(self, student: Detector, iteration: int) -> bool:
        """Follow the student after the optimiser step of `iteration` (from 0); return whether it was due.

        Due after iterations interval - 1, 2 interval - 1, ... as in the released code.
        """
        if (iteration + 1) % self.interval:
            return False
        old: list[Tensor] = list(self.detector.parameters())
        new: list[Tensor] = list(student.parameters())
        for mine, theirs in zip(self.detector.buffers(), student.buffers(), strict=True):
            if mine.is_floating_point():
                old.append(mine)
                new.append(theirs)
            else:
                mine.copy_(theirs)
        # lerp, not (1 - m) t + m s: what is equal (the frozen part) stays equal, and m = 1 copies
        torch._foreach_lerp_(old, new, self.momentum(iteration))
        return True

    def predict(self, images_BCHW: Tensor, sizes_B2: Sizes) -> list[Detections]:
        """Return the teacher's detections."""
        return self.detector.predict(images_BCHW, sizes_B2)

    def state_dict(self) -> dict[str, Tensor]:
        """Return the weights; live tensors, as torch modules give them."""
        return self.detector.state_dict()

    def load_state_dict(self, state: Mapping[str, Tensor]) -> None:
        """Take over the weights of `state`, bit for bit."""
        self.detector.load_state_dict(state)
