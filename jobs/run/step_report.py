"""What happened in one training step, as plain numbers: what a run tells of it."""

from __future__ import annotations

from dataclasses import dataclass, field

from pipeline.loaders.batch import TrainBatch
from storage.labels import Labels


@dataclass(frozen=True, kw_only=True, slots=True)
class BatchReport:
    """The figures of one batch; a step has one of them, or several where gradients are accumulated."""

    batch: TrainBatch = field(repr=False)
    """Without its views."""
    losses: dict[str, float]
    """Weighted loss parts by name; skipped parts are missing."""
    skipped: dict[str, str]
    """Reason by part ("mixup", "mosaic") whose loss was skipped."""
    boxes_per_image: float | None
    """Pseudo labels above the threshold, a mixed image; None without unlabeled images."""
    weak_labels: Labels | None = field(repr=False)
    """What the teacher said of the unlabeled images, in pixels of the weak views; None where it was not asked."""


@dataclass(frozen=True, kw_only=True, slots=True)
class StepReport:
    """The figures of one step on one rank."""

    step: int
    batches: tuple[BatchReport, ...]
    thresholds: tuple[float, ...]
    """Score threshold of each class, where they follow the teacher; else empty."""
    gradient_norm: float
    """Before clipping."""
    learning_rate: float
    stop: bool
    """Whether any rank was asked to stop after this step."""
