"""The gate: whether the pseudo labels of a batch make a loss, or the reason why there is none.

In: how many boxes each unlabeled (mixed) image keeps above the score threshold, and the scores before it. Out: a
reason in numbers, or None where the gate is open. Guaranteed: where it is closed the student need not run at all
(multiplying its loss by 0 would turn an infinity into NaN). Pseudo labels are hard: every kept box has full weight.
Source: MixPL (arXiv 2312.07006); the gates are those of its released code and of mmdetection's semi-supervised
heads.

Shapes: N boxes of all images.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, assert_never

import numpy as np
import numpy.typing as npt

from model.errors import ModelError

Gate = Literal["every_image", "any_image"]
"""every_image: each image of the batch keeps at least `least_num` boxes. any_image: the batch keeps one."""

QUANTILES = (0.0, 0.25, 0.5, 0.75, 1.0)


@dataclass(frozen=True, kw_only=True, slots=True)
class SemiSupervisedSettings:
    """How pseudo labels become a loss; the defaults are MixPL's."""

    score_threshold: float | None = None
    """A pseudo label counts when its score is strictly above this; None is the detector's own, which stands beside
    its name."""
    gate: Gate = "every_image"
    """Which batches contribute an unsupervised loss."""
    least_num: int = 1
    """Boxes that each image must keep under the gate every_image."""
    unsup_weight: float = 2.0
    """Weight of the unsupervised loss."""
    mosaic_weight: float = 0.5
    """Further factor on the mosaic image's loss."""

    def __post_init__(self) -> None:
        if self.score_threshold is not None and not 0 <= self.score_threshold <= 1:
            raise ModelError(f"expected score_threshold in 0 .. 1, got {self.score_threshold}")
        if self.gate not in ("every_image", "any_image"):
            raise ModelError(f"expected gate every_image or any_image, got {self.gate!r}")
        if self.least_num < 0 or self.unsup_weight < 0 or self.mosaic_weight < 0:
            raise ModelError(
                "expected least_num, unsup_weight and mosaic_weight of at least 0, "
                f"got {self.least_num}, {self.unsup_weight}, {self.mosaic_weight}"
            )


def skip_reason(
    num_kept: Sequence[int],
    scores_N: npt.NDArray[np.float32],
    settings: SemiSupervisedSettings,
    *,
    weight: float,
    threshold: float,
) -> str | None:
    """Return why a batch has no unsupervised loss, with the scores that met the threshold; None when it has one.

    `num_kept`: boxes of each image above the threshold. `scores_N`: scores of all boxes before it. `weight`: that
    of the batch's loss. `threshold`: the lowest of all classes.
    """
    reason = gate_reason(num_kept, settings)
    if reason is None and weight == 0:
        reason = "weight 0"
    return reason and f"{reason}; {describe_scores(scores_N, len(num_kept), threshold)}"


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


def describe_scores(scores_N: npt.NDArray[np.float32], num_images: int, threshold: float) -> str:
    """Return one phrase with the threshold and the scores that met it."""
    if not len(scores_N):
        return f"score threshold {threshold:g}, no box at all in {num_images} images"
    low, quarter, median, three_quarters, high = np.quantile(scores_N, QUANTILES)
    return (
        f"score threshold {threshold:g}, {len(scores_N)} boxes before it with scores "
        f"min {low:.3f}, 25 % {quarter:.3f}, median {median:.3f}, 75 % {three_quarters:.3f}, max {high:.3f}"
    )
