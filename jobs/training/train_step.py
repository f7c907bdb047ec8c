"""One training step: a batch in, changed weights and a report out.

    labeled view ──▶ student ──▶ supervised loss ───────────────┐
    weak view ──▶ teacher ──▶ pseudo labels ──▶ plan ──▶ cache  ├─▶ gradient ──▶ student ──EMA──▶ teacher
    mixed and mosaic views ──▶ student ──▶ unsupervised losses ─┘

The pixels of all views exist before the step begins; only boxes are made here (MixPL, arXiv 2312.07006,
section 3). Where labels come from a stored round, not even those: the student's views carry their targets. Each
part's gradient is taken as soon as its loss is known, so that the graph of one part is held at a time. A
non-finite loss raises before any weight changes. Where several processes train, their gradients are exchanged
between the two halves of a step, `learn` and `apply`; in neither does one wait for another.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from jobs.run.ranks import Ranks
from jobs.training.class_thresholds import ClassThresholds
from jobs.training.gradients import GradientExchange
from model.detector import Detections, Detector, Target
from model.method.optim import Schedule, clip_gradient
from model.method.pseudo_label_loss import SemiSupervisedSettings, UnsupervisedOutcome, unsupervised_loss
from model.method.teacher import Teacher
from pipeline.loaders.batch import LabelCache, TrainBatch, UnlabeledPlan, View
from storage.labels import Labels


class NonFiniteLossError(ValueError):
    """A loss part became infinite or NaN; nothing was changed by that step."""


@dataclass(frozen=True, kw_only=True, slots=True)
class StepReport:
    """What happened in one step, as plain numbers."""

    losses: dict[str, float]
    """Weighted loss parts by name; skipped parts are missing."""
    skipped: dict[str, str]
    """Reason by part ("mixup", "mosaic") whose loss was skipped."""
    boxes_per_image: float
    """Pseudo labels above the threshold, a mixed image."""
    thresholds: tuple[float, ...]
    """Score threshold of each class, where they follow the teacher; else empty."""
    gradient_norm: float
    """Before clipping."""
    learning_rate: float
    weak_labels: Labels | None = field(repr=False)
    """What the teacher said of the unlabeled images, in pixels of the weak views; None where it was not asked."""


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class StepLosses:
    """What the first half of a step found out; the gradient stands in the student's parameters."""

    losses: dict[str, float]
    outcomes: dict[str, UnsupervisedOutcome]
    weak_labels: Labels | None


class Trainer:
    """Student, teacher, optimiser and label cache: everything of a run that a step changes."""

    def __init__(
        self,
        *,
        student: Detector,
        teacher: Teacher,
        optimizer: torch.optim.Optimizer,
        schedule: Schedule,
        clip_norm: float,
        pseudo: SemiSupervisedSettings,
        cache: LabelCache | None,
        thresholds: ClassThresholds | None = None,
        device: torch.device,
        bf16: bool,
        ranks: Ranks,
    ) -> None:
        self.student = student
        self.gradient = GradientExchange(student.parameters(), ranks)
        self.teacher = teacher
        self.optimizer = optimizer
        self.cache = cache
        self.thresholds = thresholds
        self.device = device
        self._schedule = schedule
        self._clip_norm = clip_norm
        self._pseudo = pseudo
        self._autocast = torch.autocast(
            device.type, dtype=torch.bfloat16, enabled=bf16 and device.type == "cuda"
        )

    def learn(self, batch: TrainBatch) -> StepLosses:
        """Leave the gradient of one batch. Raises NonFiniteLossError naming the part and the images."""
        assert batch.labeled is not None, "every step of training has labeled images"
        self.gradient.clear()
        losses = self._supervised(batch.labeled)
        weak_labels, targets = None, _stored_targets(batch)
        if batch.weak is not None and batch.plan is not None and self.cache is not None:
            weak_labels = self._pseudo_labels(batch.weak)
            targets = self._teacher_targets(batch, batch.plan, weak_labels, self.cache)
        outcomes = self._unsupervised(batch, targets)
        for name, outcome in outcomes.items():
            losses |= {f"{name}_{part}": value.item() for part, value in outcome.losses.items()}
        if not self.gradient.is_finite():
            raise NonFiniteLossError(
                f"the gradient is not finite on images {', '.join(_learned_from(batch, outcomes))}"
            )
        return StepLosses(losses=losses, outcomes=outcomes, weak_labels=weak_labels)

    def apply(self, batch: TrainBatch, learned: StepLosses) -> StepReport:
        """Change the weights by the gradient. Raises NonFiniteLossError before any is changed."""
        learning_rate = self._schedule.apply(self.optimizer, batch.step)
        norm = clip_gradient(self.student.parameters(), self._clip_norm)
        if not math.isfinite(norm):
            raise NonFiniteLossError(
                f"the gradient is {norm} on images {', '.join(_learned_from(batch, learned.outcomes))}"
            )
        self.optimizer.step()
        self.teacher.update(self.student, batch.step)
        outcomes = learned.outcomes
        return StepReport(
            losses=learned.losses,
            skipped={name: outcome.reason for name, outcome in outcomes.items() if outcome.reason},
            boxes_per_image=_mean_kept(outcomes.get("mixup")),
            thresholds=() if self.thresholds is None else tuple(self.thresholds.values_C.tolist()),
            gradient_norm=norm,
            learning_rate=learning_rate,
            weak_labels=learned.weak_labels,
        )

    def _supervised(self, view: View) -> dict[str, float]:
        with self._autocast:
            parts = self.student(
                view.images_BCHW, view.sizes_B2, _targets(view.targets, view.images_BCHW.device)
            )
        _backward("supervised", parts, view.keys)
        return {f"supervised_{name}": value.item() for name, value in parts.items()}

    def _pseudo_labels(self, weak: View) -> Labels:
        with self._autocast:
            return to_labels(self.teacher.predict(weak.images_BCHW, weak.sizes_B2))

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
        thresholds_C = batch.thresholds_C
        if thresholds_C is None and self.thresholds is not None:
            thresholds_C = self.thresholds.values_C
        views, outcomes = _student_views(batch), {}
        for name, labels in targets.items():
            weight = self._pseudo.unsup_weight * (self._pseudo.mosaic_weight if name == "mosaic" else 1)
            outcomes[name] = self._learn(name, views[name], labels, weight, thresholds_C)
        return outcomes

    def _learn(
        self,
        name: str,
        view: View,
        labels: Labels,
        weight: float,
        thresholds_C: npt.NDArray[np.float64] | None,
    ) -> UnsupervisedOutcome:
        with self._autocast:
            outcome = unsupervised_loss(
                self.student,
                view.images_BCHW,
                view.sizes_B2,
                to_detections(labels),
                settings=self._pseudo,
                weight=weight,
                thresholds_C=None if thresholds_C is None else torch.from_numpy(thresholds_C),
            )
        if outcome.losses:
            _backward(name, outcome.losses, view.keys)
        return outcome

    def state_dict(self) -> dict[str, Any]:
        """Return everything that a step changes and that all ranks share, for a checkpoint."""
        return {
            "student": self.student.state_dict(),
            "teacher": self.teacher.state_dict(),
            "optimizer": self.optimizer.state_dict(),
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
        self.optimizer.load_state_dict(shared["optimizer"])
        if self.cache is not None and own["cache"] is not None:
            self.cache.load_state_dict(own["cache"])
        if self.thresholds is not None and own["thresholds"] is not None:
            self.thresholds.load_state_dict(own["thresholds"])
        if own["random"] is not None:
            torch.set_rng_state(own["random"])
        if own["random_cuda"] is not None and self.device.type == "cuda":
            torch.cuda.set_rng_state(own["random_cuda"], self.device)


def to_labels(detections: Sequence[Detections]) -> Labels:
    """Return detections as flat labels on the host."""
    return Labels.concatenate(
        [
            Labels.of_image(d.boxes_N4.cpu().numpy(), d.categories_N.cpu().numpy(), d.scores_N.cpu().numpy())
            for d in detections
        ]
    )


def to_detections(labels: Labels) -> list[Detections]:
    """Return flat labels as one `Detections` an image, on the host."""
    return [
        Detections(
            boxes_N4=torch.from_numpy(one.boxes_N4),
            categories_N=torch.from_numpy(one.categories_N).long(),
            scores_N=torch.from_numpy(one.scores_N),
        )
        for one in map(labels.image, range(len(labels)))
    ]


def _targets(labels: Labels | None, device: torch.device) -> list[Target]:
    assert labels is not None, "a labeled view carries its targets"
    return [
        Target(boxes_N4=d.boxes_N4.to(device), categories_N=d.categories_N.to(device))
        for d in to_detections(labels)
    ]


def _student_views(batch: TrainBatch) -> dict[str, View]:
    """Return what the student learns of the unlabeled images, by the name of its loss."""
    views = {"mixup": batch.student, "mosaic": batch.mosaic}
    return {name: view for name, view in views.items() if view is not None}


def _stored_targets(batch: TrainBatch) -> dict[str, Labels]:
    """Return the labels of a stored round that the views carry; none where the teacher labels."""
    views = _student_views(batch)
    return {name: view.targets for name, view in views.items() if view.targets is not None}


def _backward(name: str, parts: dict[str, Tensor], keys: Sequence[str]) -> None:
    """Add the gradient of the sum of the parts; a non-finite part is refused before."""
    for part, value in parts.items():
        if not math.isfinite(value.item()):
            raise NonFiniteLossError(f"loss {name}_{part} is {value.item()} on images {', '.join(keys)}")
    torch.stack(list(parts.values())).sum().backward()  # type: ignore[no-untyped-call]


def _learned_from(batch: TrainBatch, outcomes: Mapping[str, UnsupervisedOutcome]) -> list[str]:
    """Return the images that had a loss in this step; mixed ones are joined by "+"."""
    views = _student_views(batch)
    learned = [batch.labeled, *(views[name] for name, outcome in outcomes.items() if outcome.losses)]
    return [key for view in learned if view is not None for key in view.keys]


def _mean_kept(outcome: UnsupervisedOutcome | None) -> float:
    return sum(outcome.num_kept) / len(outcome.num_kept) if outcome and outcome.num_kept else 0.0
