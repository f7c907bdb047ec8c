"""What a batch's forward and backward passes leave: losses that are still on the device, and what is known of them.

In: the loss parts of each view, with its images. Out: all of them as one vector on the device, and, once that was
read, the same as plain numbers, or an error that names the first part that is not finite and its images.

Shapes: P loss parts.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from jobs.run.step_report import BatchReport
from pipeline.loaders.batch import TrainBatch
from storage.errors import RunStoppedError
from storage.labels import Labels


class NonFiniteLossError(RunStoppedError):
    """A loss part or the gradient became infinite or NaN; no weight of the student was changed by that step."""


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class ViewLosses:
    """The weighted loss parts of one view."""

    names: tuple[str, ...]
    values_P: Tensor
    """Without gradient, on the device."""
    keys: tuple[str, ...]
    """The images of the view; mixed ones are joined by "+"."""

    def by_name(self, values: Sequence[float]) -> dict[str, float]:
        """Return the parts once their values were read. Raises NonFiniteLossError for one that is no number."""
        parts = dict(zip(self.names, values, strict=True))
        for name, value in parts.items():
            if not math.isfinite(value):
                raise NonFiniteLossError(f"loss {name} is {value} on images {', '.join(self.keys)}")
        return parts


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class UnsupervisedOutcome:
    """What became of one view of unlabeled images."""

    losses: ViewLosses | None
    """None when the loss was skipped."""
    reason: str | None
    """Why the loss was skipped, in numbers; None when it was not."""
    num_kept: tuple[int, ...]
    """Pseudo labels of each image above the threshold."""


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class BatchLosses:
    """What one batch's half of a step found out; its gradient stands in the student's parameters."""

    batch: TrainBatch
    """Without its views."""
    supervised: ViewLosses
    outcomes: Mapping[str, UnsupervisedOutcome]
    weak_labels: Labels | None

    def views(self) -> list[ViewLosses]:
        """Return the losses of each view that has some, in the order in which they were made."""
        unsupervised = [outcome.losses for outcome in self.outcomes.values() if outcome.losses is not None]
        return [self.supervised, *unsupervised]

    def all_values(self) -> Tensor:
        """Return every loss part (P,) on the device."""
        return torch.cat([view.values_P for view in self.views()])

    def image_keys(self) -> list[str]:
        """Return the images that were learned from."""
        return [key for view in self.views() for key in view.keys]

    def report(self, values: Sequence[float]) -> BatchReport:
        """Return the figures once the loss parts were read. Raises NonFiniteLossError."""
        losses: dict[str, float] = {}
        first = 0
        for view in self.views():
            losses |= view.by_name(values[first : first + len(view.names)])
            first += len(view.names)
        mixup = self.outcomes.get("mixup")
        return BatchReport(
            batch=self.batch,
            losses=losses,
            skipped={name: outcome.reason for name, outcome in self.outcomes.items() if outcome.reason},
            boxes_per_image=None if mixup is None else sum(mixup.num_kept) / max(1, len(mixup.num_kept)),
            weak_labels=self.weak_labels,
        )
