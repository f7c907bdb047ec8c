"""One training step: a batch in, changed weights and a report out.

    labeled view ──▶ student ──▶ supervised loss ───────────────┐
    weak view ──▶ teacher ──▶ pseudo labels ──▶ plan ──▶ cache  ├─▶ gradient ──▶ student ──EMA──▶ teacher
    mixed and mosaic views ──▶ student ──▶ unsupervised losses ─┘

The pixels of all views exist before the step begins; only boxes are made here (MixPL, arXiv 2312.07006,
section 3). Where labels come from a stored round, not even those: the student's views carry their targets. Each
part's gradient is taken as soon as its loss is there, so that the graph of one part is held at a time. Losses,
norm and whether they are finite stay on the device, which itself leaves every weight as it is where they are not
(`unread_step.py`); only the teacher's labels are waited for. Where several processes train, their gradients are
exchanged between the two halves of a step, `compute_gradient` and `update_weights`; in neither does one wait for
another.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from jobs.inference.tensor_labels import labels_of, targets_of
from jobs.run.ranks import Ranks
from jobs.training.batch_losses import BatchLosses, UnsupervisedOutcome, ViewLosses
from jobs.training.class_thresholds import ClassThresholds
from jobs.training.gradients import Agreement, GradientExchange
from jobs.training.unread_step import UnreadStep
from model.detector import Detector
from model.method.gate import SemiSupervisedSettings, skip_reason
from model.method.teacher import Teacher
from model.method.weight_update import WeightUpdate
from pipeline.loaders.batch import LabelCache, TrainBatch, UnlabeledPlan, View
from storage.labels import Labels


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
        accumulate: int = 1,
        ranks: Ranks,
    ) -> None:
        """`thresholds`: those of classes that follow the teacher; `bf16` counts on a GPU only.

        `accumulate`: batches of a step, whose gradients become their mean.
        """
        self.accumulate = accumulate
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

    def compute_gradient(self, batch: TrainBatch) -> BatchLosses:
        """Add the gradient of one batch, its share of the step's; the first batch of a step begins anew.

        The host waits for the device once: for the teacher's labels.
        """
        assert batch.labeled is not None, "every step of training has labeled images"
        if batch.step % self.accumulate == 0:
            self.gradient.clear()
        supervised = self._supervised(batch.labeled)
        weak_labels, targets = None, _stored_targets(batch)
        if batch.weak is not None and batch.plan is not None and self.cache is not None:
            weak_labels = self._pseudo_labels(batch.weak)
            targets = self._teacher_targets(batch, batch.plan, weak_labels, self.cache)
        return BatchLosses(
            batch=batch.without_views(),
            supervised=supervised,
            outcomes=self._unsupervised(batch, targets),
            weak_labels=weak_labels,
        )

    def update_weights(
        self, step: int, losses: Sequence[BatchLosses], agreement: Agreement | None = None
    ) -> UnreadStep:
        """Change the weights by the gradient, unless the step is void; return its report, yet to be read.

        `agreement`: what came of the exchange between ranks; one alone may leave it out.
        """
        if agreement is None:
            agreement = self.gradient.exchange(None, [batch.all_values() for batch in losses], stop=False)
        norm, learning_rate = self._update.apply(step, agreement.void)
        self.teacher.update(self.student, step)
        return UnreadStep(
            step,
            losses,
            norm=norm,
            learning_rate=learning_rate,
            agreement=agreement,
            thresholds=() if self.thresholds is None else tuple(self.thresholds.values_C.tolist()),
        )

    def _supervised(self, view: View) -> ViewLosses:
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
            labels.scores_N,
            self._pseudo,
            weight=weight,
            threshold=float(np.min(threshold)),
        )
        losses = None if reason else self._learn_from_view(name, view, kept, weight=weight)
        return UnsupervisedOutcome(losses=losses, reason=reason, num_kept=num_kept)

    def _learn_from_view(self, name: str, view: View, labels: Labels, *, weight: float) -> ViewLosses:
        """Add the gradient of the student's loss on a view, times `weight`; return its parts, on the device."""
        with self._autocast:
            parts = self.student(view.images_BCHW, view.sizes_B2, targets_of(labels, view.images_BCHW.device))
            values_P = torch.stack([value * weight for value in parts.values()])
        (values_P.sum() / self.accumulate).backward()  # type: ignore[no-untyped-call]
        names = tuple(f"{name}_{part}" for part in parts)
        return ViewLosses(names=names, values_P=values_P.detach(), keys=view.keys)

    @property
    def optimizer(self) -> torch.optim.Optimizer:
        """What changes the student's weights."""
        return self._update.optimizer

    def state_dict(self) -> dict[str, Any]:
        """Return everything that a step changes and that all ranks share, for a checkpoint."""
        return {**self.weights(), "optimizer": self._update.optimizer.state_dict()}

    def weights(self) -> dict[str, Any]:
        """Return the weights of student and teacher; live tensors, as torch modules give them."""
        return {"student": self.student.state_dict(), "teacher": self.teacher.state_dict()}

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
