"""From the annotations of any format to checked truth: boxes inside their images, image by image.

In: columns of annotations, boxes xyxy in pixels as float64, in any order. Out: `Truth`. What every reader shares
is decided here, counted and named in `problems`:

    zero-area box                     dropped
    box wholly outside its image      dropped
    box partly outside its image      clipped; counted when more than one pixel is cut off
    crowd region, difficult object    kept apart: a remark
    box in shares of its image        taken times the size, where all boxes of the source are such: a remark
    box within the first pixel        kept; where others are not, or too few are there to tell

Shapes: A annotations, B images.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from storage import boxes
from storage.labels import Labels, offsets_of_counts
from storage.problems import Problems
from storage.truth import Federated, Truth

CUT_OFF_TOLERANCE = 1.0
"""Pixels: annotation tools round, so less than this over the edge is clipped without a word."""
MIN_SHARES = 10
"""Boxes within 0..1 from which on a source without any other is taken to speak of shares of the image."""
BLOCK = 1 << 16
DIFFICULT_REMARK = (
    "difficult object (kept apart, not trained on; of VOC --keep-difficult takes it as any other)"
)


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Annotations:
    """A annotations as columns."""

    images_A: npt.NDArray[np.int64]
    """Row of the image."""
    categories_A: npt.NDArray[np.int32]
    """Class index."""
    boxes_A4: npt.NDArray[np.float64]
    """xyxy, pixels, finite."""
    areas_A: npt.NDArray[np.float64]
    """NaN where none is annotated."""
    scores_A: npt.NDArray[np.float32]
    """1, where the format knows no scores."""
    crowd_A: npt.NDArray[np.bool_]
    difficult_A: npt.NDArray[np.bool_] | None = None
    """None where the format knows no difficult objects."""
    describe: Callable[[int], str]
    """Names an annotation, given its row, so that a person finds it."""


def truth_of(
    annotations: Annotations,
    sizes_B2: npt.NDArray[np.int32],
    problems: Problems,
    *,
    federated: Federated | None = None,
) -> Truth:
    """Return the truth of B images of these sizes (height, width)."""
    images_A = annotations.images_A
    annotations = _in_pixels(annotations, sizes_B2[images_A], problems)
    clipped_A4, kept_A, cut_A, has_area_A = _clipped(annotations.boxes_A4, sizes_B2[images_A])
    for kind, mask_A in (
        ("zero-area box (dropped)", ~kept_A & ~has_area_A),
        ("box wholly outside its image (dropped)", ~kept_A & has_area_A),
        ("box partly outside its image (clipped)", kept_A & cut_A),
    ):
        problems.add_rows(kind, np.flatnonzero(mask_A), annotations.describe)
    order_A = np.argsort(images_A, kind="stable")
    crowd_A, difficult_A = annotations.crowd_A, annotations.difficult_A
    truth_A = kept_A & ~crowd_A
    difficult = None
    problems.remark_rows(
        "crowd region (kept apart, not trained on)", np.flatnonzero(kept_A & crowd_A), annotations.describe
    )
    if difficult_A is not None:
        apart_A = truth_A & difficult_A
        problems.remark_rows(DIFFICULT_REMARK, np.flatnonzero(apart_A), annotations.describe)
        difficult = _pick(annotations, clipped_A4, order_A[apart_A[order_A]], len(sizes_B2))
        truth_A &= ~difficult_A
    rows_N = order_A[truth_A[order_A]]
    labels = _pick(annotations, clipped_A4, rows_N, len(sizes_B2))
    crowds = _pick(annotations, clipped_A4, order_A[(kept_A & crowd_A)[order_A]], len(sizes_B2))
    areas_N = annotations.areas_A[rows_N]
    own_N = boxes.area(labels.boxes_N4.astype(np.float64))
    return Truth(
        labels=labels,
        areas=np.where(np.isnan(areas_N), own_N, areas_N),
        crowds=crowds,
        difficult=difficult,
        federated=federated,
    )


def _in_pixels(annotations: Annotations, sizes_A2: npt.NDArray[np.int32], problems: Problems) -> Annotations:
    """Return the boxes in pixels: shares of the image, where each of many lies within the first pixel."""
    boxes_A4 = annotations.boxes_A4
    # the columns one by one: a maximum over four numbers a row is ten times as slow
    small_A = np.logical_and.reduce([(side >= 0) & (side <= 1) for side in boxes_A4.T])
    rows_A = np.flatnonzero(small_A)
    rows_A = rows_A[np.any(boxes_A4[rows_A] % 1, axis=1)]
    if len(rows_A) < MIN_SHARES or not small_A.all():
        kind = "box within the first pixel (kept; in shares of its image?)"
        problems.add_rows(kind, rows_A, annotations.describe)
        return annotations
    rows_A = np.arange(len(boxes_A4))
    problems.remark_rows("box in shares of its image (taken times its size)", rows_A, annotations.describe)
    return replace(annotations, boxes_A4=boxes_A4 * np.tile(sizes_A2[:, ::-1], 2))


def _clipped(
    whole_A4: npt.NDArray[np.float64], sizes_A2: npt.NDArray[np.int32]
) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.bool_], npt.NDArray[np.bool_], npt.NDArray[np.bool_]]:
    """Return the boxes inside their images, and which are valid so, were cut, and were valid before.

    In blocks, as the steps between are several times the boxes.
    """
    clipped_A4 = np.empty(whole_A4.shape, np.float32)
    kept_A, cut_A, has_area_A = (np.empty(len(whole_A4), bool) for _ in range(3))
    for start in range(0, len(whole_A4), BLOCK):
        block = slice(start, start + BLOCK)
        whole, (heights, widths) = whole_A4[block], sizes_A2[block].T
        clipped = boxes.clip(whole, width=widths, height=heights).astype(np.float32)
        clipped_A4[block], kept_A[block], has_area_A[block] = (
            clipped,
            boxes.valid(clipped),
            boxes.valid(whole),
        )
        cut_A[block] = np.any(np.abs(whole - clipped) > CUT_OFF_TOLERANCE, axis=1)
    return clipped_A4, kept_A, cut_A, has_area_A


def _pick(
    annotations: Annotations,
    boxes_A4: npt.NDArray[np.float32],
    rows_N: npt.NDArray[np.int64],
    num_images: int,
) -> Labels:
    counts_B = np.bincount(annotations.images_A[rows_N], minlength=num_images)
    return Labels(
        boxes_N4=boxes_A4[rows_N],
        categories_N=annotations.categories_A[rows_N],
        scores_N=annotations.scores_A[rows_N],
        offsets_B1=offsets_of_counts(counts_B),
    )
