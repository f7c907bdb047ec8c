"""From pseudo labels to an unsupervised loss, or to the reason why there is none.

In: a student, a batch of unlabeled (mixed) images and their unfiltered pseudo labels. Out: an
`UnsupervisedOutcome`. Guaranteed: a box counts when its score is strictly above the threshold; when the gate
is closed the student is not run at all (multiplying its loss by 0 would turn an infinity into NaN), and the
reason says in numbers what was there. Pseudo labels are hard: every kept box has full weight. Source: MixPL
(arXiv 2312.07006); the gates are those of its released code and of mmdetection's semi-supervised heads.

Shapes: B images, N boxes.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, assert_never

import torch
from torch import Tensor

from model.detector import Detections, Detector, Sizes, Target

Gate = Literal["every_image", "any_image"]
"""every_image: each image of the batch keeps at least `least_num` boxes. any_image: the batch keeps one."""

QUANTILES = (0.0, 0.25, 0.5, 0.75, 1.0)


@dataclass(frozen=True, kw_only=True, slots=True)
class SemiSupervisedSettings:
    """How pseudo labels become a loss; the defaults are MixPL's."""

    score_threshold: float
    """A pseudo label counts when its score is strictly above this; `default_score_threshold` per detector."""
    gate: Gate = "every_image"
    """Which batches contribute an unsupervised loss."""
    least_num: int = 1
    """Boxes that each image must keep under the gate every_image."""
    unsup_weight: float = 2.0
    """Weight of the unsupervised loss."""
    mosaic_weight: float = 0.5
    """Further factor on the mosaic image's loss."""

    def __post_init__(self) -> None:
        if not 0 <= self.score_threshold <= 1:
            raise ValueError(f"expected score_threshold in 0 .. 1, got {self.score_threshold}")
        if self.gate not in ("every_image", "any_image"):
            raise ValueError(f"expected gate every_image or any_image, got {self.gate!r}")
        if self.least_num < 0 or self.unsup_weight < 0 or self.mosaic_weight < 0:
            raise ValueError(
                "expected least_num, unsup_weight and mosaic_weight of at least 0, "
                f"got {self.least_num}, {self.unsup_weight}, {self.mosaic_weight}"
            )


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class UnsupervisedOutcome:
    """What became of one unlabeled batch."""

    losses: dict[str, Tensor]
    """Loss parts, already weighted; empty when the loss was skipped."""
    reason: str | None
    """Why the loss was skipped, in numbers; None when it was not."""
    num_boxes: tuple[int, ...]
    """Pseudo labels of each image before the threshold."""
    num_kept: tuple[int, ...]
    """Pseudo labels of each image above the threshold."""
    score_quantiles: tuple[float, ...] | None
    """Scores before the threshold at `QUANTILES`; None when there was no box."""


def unsupervised_loss(
    student: Detector,
    images_BCHW: Tensor,
    sizes_B2: Sizes,
    pseudo_labels: Sequence[Detections],
    *,
    settings: SemiSupervisedSettings,
    weight: float,
    thresholds_C: Tensor | None = None,
) -> UnsupervisedOutcome:
    """Return the student's loss on confident pseudo labels times `weight`, or the reason for skipping it.

    `thresholds_C`: a threshold for each class, in place of the one of the settings, where the labels lie.

    `weight`: `settings.unsup_weight` for a mixup batch, that times `settings.mosaic_weight` for a mosaic
    image. `pseudo_labels` may lie on another device than the images: on the CPU filtering costs no
    synchronisation.
    """
    threshold = settings.score_threshold if thresholds_C is None else thresholds_C
    targets = [above_threshold(labels, threshold) for labels in pseudo_labels]
    num_boxes = tuple(len(labels) for labels in pseudo_labels)
    num_kept = tuple(len(target.boxes_N4) for target in targets)
    quantiles = score_quantiles(pseudo_labels)
    reason = gate_reason(num_kept, settings)
    losses: dict[str, Tensor] = {}
    if reason is None and weight == 0:
        reason = "weight 0"
    if reason is None:
        placed = [target.to(images_BCHW.device) for target in targets]
        parts = student(images_BCHW, sizes_B2, placed)
        losses = {name: part * weight for name, part in parts.items()}
    else:
        lowest = settings.score_threshold if thresholds_C is None else float(thresholds_C.min())
        reason = f"{reason}; {describe_scores(num_boxes, quantiles, lowest)}"
    return UnsupervisedOutcome(
        losses=losses, reason=reason, num_boxes=num_boxes, num_kept=num_kept, score_quantiles=quantiles
    )


def above_threshold(labels: Detections, threshold: float | Tensor) -> Target:
    """Return the boxes whose score is strictly above the threshold, as a target of full weight.

    `threshold` is one number, or a tensor of one a class.
    """
    least = threshold[labels.categories_N] if isinstance(threshold, Tensor) else threshold
    keep_N = labels.scores_N > least
    return Target(boxes_N4=labels.boxes_N4[keep_N], categories_N=labels.categories_N[keep_N])


def gate_reason(num_kept: Sequence[int], settings: SemiSupervisedSettings) -> str | None:
    """Return why the gate is closed when the images keep `num_kept` boxes; None when it is open."""
    match settings.gate:
        case "every_image":
            poor = [index for index, count in enumerate(num_kept) if count < settings.least_num]
            if num_kept and not poor:
                return None
            return (
                f"gate every_image: {len(poor)} of {len(num_kept)} images keep fewer than "
                f"{settings.least_num} boxes (kept an image: {list(num_kept)})"
            )
        case "any_image":
            return None if any(num_kept) else f"gate any_image: none of {len(num_kept)} images keeps a box"
        case _:
            assert_never(settings.gate)


def score_quantiles(pseudo_labels: Sequence[Detections]) -> tuple[float, ...] | None:
    """Return the scores of all boxes of a batch at `QUANTILES`; None when there is no box."""
    scores = [labels.scores_N.float() for labels in pseudo_labels]
    if not sum(len(part) for part in scores):
        return None
    scores_N = torch.cat(scores)
    return tuple(torch.quantile(scores_N, scores_N.new_tensor(QUANTILES)).tolist())


def describe_scores(
    num_boxes: Sequence[int], quantiles: Sequence[float] | None, score_threshold: float
) -> str:
    """Return one phrase with the threshold and the scores that met it."""
    if quantiles is None:
        return f"score threshold {score_threshold:g}, no box at all in {len(num_boxes)} images"
    low, quarter, median, three_quarters, high = quantiles
    return (
        f"score threshold {score_threshold:g}, {sum(num_boxes)} boxes before it with scores "
        f"min {low:.3f}, 25 % {quarter:.3f}, median {median:.3f}, 75 % {three_quarters:.3f}, max {high:.3f}"
    )
