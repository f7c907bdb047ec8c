"""One training step: a batch in, changed weights and a report out.

    labeled view ──▶ student ──▶ supervised loss ───────────────┐
    weak view ──▶ teacher ──▶ pseudo labels ──▶ plan ──▶ cache  ├─▶ gradient ──▶ student ──EMA──▶ teacher
    mixed and mosaic views ──▶ student ──▶ unsupervised losses ─┘

The pixels of all views exist before the step begins; only boxes are made here (MixPL, arXiv 2312.07006,
section 3). Where labels come from a stored round, not even those: the student's views carry their targets. Each
part's gradient is taken as soon as its loss is known, so that the graph of one part is held at a time. A
non-finite loss raises before any weight changes. Where several processes train, their gradients are exchanged
between the two halves of a step, `compute_gradient` and `update_weights`; in neither does one wait for another.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from jobs.inference.tensor_labels import labels_of, targets_of
from jobs.run.ranks import Ranks
from jobs.run.step_report import StepReport
from jobs.training.class_thresholds import ClassThresholds
from jobs.training.gradients import GradientExchange
from model.detector import Detector
from model.method.gate import SemiSupervisedSettings, skip_reason
from model.method.optim import WeightUpdate
from model.method.teacher import Teacher
from pipeline.loaders.batch import LabelCache, TrainBatch, UnlabeledPlan, View
from storage.errors import RunStoppedError
from storage.labels import Labels


class NonFiniteLossError(RunStoppedError):
    """A loss part became infinite or NaN; nothing was changed by that step."""


@dataclass(frozen=True, kw_only=True, slots=True)
class UnsupervisedOutcome:
    """What became of one view of unlabeled images."""

    losses: dict[str, float]
    """Weighted loss parts by name; empty when the loss was skipped."""
    reason: str | None
    """Why the loss was skipped, in numbers; None when it was not."""
    num_kept: tuple[int, ...]
    """Pseudo labels of each image above the threshold."""


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class StepLosses:
    """What the first half of a step found out; the gradient stands in the student's parameters."""

    supervised: dict[str, float]
    outcomes: dict[str, UnsupervisedOutcome]
    weak_labels: Labels | None

    def by_name(self) -> dict[str, float]:
        """Return every weighted loss part of the step."""
        return {**self.supervised, **{k: v for o in self.outcomes.values() for k, v in o.losses.items()}}


class Trainer:
    """Student, teacher, optimiser and label cache: everything of a run that a step changes."""

    def __init__(
        self,
        *,
        student: Detector,
        teacher: Teacher,
        weight_update: WeightUpdate,
        pseudo: SemiSupervisedSettings,
        cache: LabelCache | None,
        thresholds: ClassThresholds | None = None,
        bf16: bool,
        ranks: Ranks,
    ) -> None:
        """`thresholds`: those of classes that follow the teacher; `bf16` counts on a GPU only."""
        self.student = student
        self.teacher = teacher
        self.cache = cache
        self.thresholds = thresholds
        self.device = next(student.parameters()).device
        self.gradient = GradientExchange(student.parameters(), ranks)
        self._update = weight_update
        self._pseudo = pseudo
        self._autocast = torch.autocast(
            self.device.type, dtype=torch.bfloat16, enabled=bf16 and self.device.type == "cuda"
        )

    def compute_gradient(self, batch: TrainBatch) -> StepLosses:
        """Leave the gradient of one batch. Raises NonFiniteLossError naming the part and the images."""
        assert batch.labeled is not None, "every step of training has labeled images"
        self.gradient.clear()
        supervised = self._supervised(batch.labeled)
        weak_labels, targets = None, _stored_targets(batch)
        if batch.weak is not None and batch.plan is not None and self.cache is not None:
            weak_labels = self._pseudo_labels(batch.weak)
            targets = self._teacher_targets(batch, batch.plan, weak_labels, self.cache)
        outcomes = self._unsupervised(batch, targets)
        if not self.gradient.is_finite():
            raise NonFiniteLossError(
                f"the gradient is not finite on images {', '.join(_images_with_loss(batch, outcomes))}"
            )
        return StepLosses(supervised=supervised, outcomes=outcomes, weak_labels=weak_labels)

    def update_weights(self, batch: TrainBatch, step_losses: StepLosses) -> StepReport:
        """Change the weights by the gradient. Raises NonFiniteLossError before any is changed."""
        outcomes = step_losses.outcomes
        norm, learning_rate = self._update.apply(batch.step)
        if not math.isfinite(norm):
            raise NonFiniteLossError(
                f"the gradient is {norm} on images {', '.join(_images_with_loss(batch, outcomes))}"
            )
        self.teacher.update(self.student, batch.step)
        return StepReport(
            losses=step_losses.by_name(),
            skipped={name: outcome.reason for name, outcome in outcomes.items() if outcome.reason},
            boxes_per_image=_mean_kept(outcomes.get("mixup")),
            thresholds=() if self.thresholds is None else tuple(self.thresholds.values_C.tolist()),
            gradient_norm=norm,
            learning_rate=learning_rate,
            weak_labels=step_losses.weak_labels,
        )

    def _supervised(self, view: View) -> dict[str, float]:
        assert view.targets is not None, "a labeled view carries its targets"
        return self._learn_from_view("supervised", view, view.targets, weight=1.0)

    def _pseudo_labels(self, weak: View) -> Labels:
        with self._autocast:
            return labels_of(self.teacher.predict(weak.images_BCHW, weak.sizes_B2))

    def _teacher_targets(
        self, batch: TrainBatch, plan: UnlabeledPlan, weak: Labels, cache: LabelCache
    ) -> dict[str, Labels]:
        """Return the teacher's labels where the student's views show them, and remember them for mixing."""
        if self.thresholds is not None:
            self.thresholds.observe(weak)
        if batch.cached is not None:
            cache.push(batch.cached)
        strong = plan.strong_labels(weak)
        targets = {"mixup": plan.student_labels(strong, cache)}
        if batch.mosaic is not None:
            targets["mosaic"] = plan.mosaic_labels(cache)
        cache.push(strong)
        return targets

    def _unsupervised(
        self, batch: TrainBatch, targets: Mapping[str, Labels]
    ) -> dict[str, UnsupervisedOutcome]:
        views, threshold = _student_views(batch), self._threshold(batch)
        return {name: self._outcome(name, views[name], labels, threshold) for name, labels in targets.items()}

    def _threshold(self, batch: TrainBatch) -> float | npt.NDArray[np.float64]:
        """Return the score threshold of a step: of each class where the batch or the teacher's labels give one."""
        if batch.thresholds_C is not None:
            return batch.thresholds_C
        if self.thresholds is not None:
            return self.thresholds.values_C
        assert self._pseudo.score_threshold is not None, (
            "build_trainer puts the detector's own in place of None"
        )
        return self._pseudo.score_threshold

    def _outcome(
        self, name: str, view: View, labels: Labels, threshold: float | npt.NDArray[np.float64]
    ) -> UnsupervisedOutcome:
        """Learn from the pseudo labels above the threshold, or say why not."""
        weight = self._pseudo.unsup_weight * (self._pseudo.mosaic_weight if name == "mosaic" else 1)
        kept = labels.above(threshold)
        num_kept = tuple(kept.counts().tolist())
        reason = skip_reason(
            num_kept,
            torch.from_numpy(labels.scores_N),
            self._pseudo,
            weight=weight,
            threshold=float(np.min(threshold)),
        )
        losses = {} if reason else self._learn_from_view(name, view, kept, weight=weight)
        return UnsupervisedOutcome(losses=losses, reason=reason, num_kept=num_kept)

    def _learn_from_view(self, name: str, view: View, labels: Labels, *, weight: float) -> dict[str, float]:
        """Add the gradient of the student's loss on a view, times `weight`; return its parts.

        Raises NonFiniteLossError before, naming the part and the images.
        """
        with self._autocast:
            parts = self.student(view.images_BCHW, view.sizes_B2, targets_of(labels, view.images_BCHW.device))
            parts = {f"{name}_{part}": value * weight for part, value in parts.items()}
        losses = {part: value.item() for part, value in parts.items()}
        for part, value in losses.items():
            if not math.isfinite(value):
                raise NonFiniteLossError(f"loss {part} is {value} on images {', '.join(view.keys)}")
        torch.stack(list(parts.values())).sum().backward()  # type: ignore[no-untyped-call]
        return losses

    def state_dict(self) -> dict[str, Any]:
        """Return everything that a step changes and that all ranks share, for a checkpoint."""
        return {
            "student": self.student.state_dict(),
            "teacher": self.teacher.state_dict(),
            "optimizer": self._update.optimizer.state_dict(),
        }

    def rank_state_dict(self) -> dict[str, Any]:
        """Return everything that a step changes and that this rank alone has."""
        cuda = self.device.type == "cuda"
        return {
            "cache": None if self.cache is None else self.cache.state_dict(),
            "thresholds": None if self.thresholds is None else self.thresholds.state_dict(),
            "random": torch.get_rng_state(),
            "random_cuda": torch.cuda.get_rng_state(self.device) if cuda else None,
        }

    def load_state_dict(self, shared: Mapping[str, Any], own: Mapping[str, Any]) -> None:
        """Take up where `state_dict` and `rank_state_dict` were asked; what `own` lacks starts anew."""
        self.student.load_state_dict(shared["student"])
        self.teacher.load_state_dict(shared["teacher"])
        self._update.optimizer.load_state_dict(shared["optimizer"])
        if self.cache is not None and own["cache"] is not None:
            self.cache.load_state_dict(own["cache"])
        if self.thresholds is not None and own["thresholds"] is not None:
            self.thresholds.load_state_dict(own["thresholds"])
        if own["random"] is not None:
            torch.set_rng_state(own["random"])
        if own["random_cuda"] is not None and self.device.type == "cuda":
            torch.cuda.set_rng_state(own["random_cuda"], self.device)


def _student_views(batch: TrainBatch) -> dict[str, View]:
    """Return what the student learns of the unlabeled images, by the name of its loss."""
    views = {"mixup": batch.student, "mosaic": batch.mosaic}
    return {name: view for name, view in views.items() if view is not None}


def _stored_targets(batch: TrainBatch) -> dict[str, Labels]:
    """Return the labels of a stored round that the views carry; none where the teacher labels."""
    views = _student_views(batch)
    return {name: view.targets for name, view in views.items() if view.targets is not None}


def _images_with_loss(batch: TrainBatch, outcomes: Mapping[str, UnsupervisedOutcome]) -> list[str]:
    """Return the images that had a loss in this step; mixed ones are joined by "+"."""
    views = _student_views(batch)
    with_loss = [batch.labeled, *(views[name] for name, outcome in outcomes.items() if outcome.losses)]
    return [key for view in with_loss if view is not None for key in view.keys]


def _mean_kept(outcome: UnsupervisedOutcome | None) -> float:
    return sum(outcome.num_kept) / len(outcome.num_kept) if outcome and outcome.num_kept else 0.0
