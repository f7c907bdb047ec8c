"""Boxes of many images in one value, laid out as Arrow lays out a list column.

In: per-image boxes, or an Arrow label table. Out: `Labels`, the form in which boxes travel through the whole
project. Flat arrays plus offsets, so that a batch is projected by one compiled call and a table is read
without a copy per image.

Shapes: N boxes in all, B images. Boxes are xyxy, float32, absolute pixels of the image at hand.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt


def offsets_of_counts(counts: npt.ArrayLike) -> npt.NDArray[np.int64]:
    """Return where the rows of each image begin, given how many it has, and last where they end."""
    return np.concatenate([[0], np.cumsum(np.asarray(counts, np.int64))])


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Labels:
    """The boxes of B images: image b owns rows `offsets_B1[b]` to `offsets_B1[b + 1]`.

    Ground truth has a score of 1.
    """

    boxes_N4: npt.NDArray[np.float32]
    """xyxy, absolute pixels."""
    categories_N: npt.NDArray[np.int32]
    """Class index, 0 .. number of classes - 1."""
    scores_N: npt.NDArray[np.float32]
    offsets_B1: npt.NDArray[np.int64]
    """B + 1 ascending row numbers; the first is 0, the last N."""

    def __len__(self) -> int:
        """Return the number of images."""
        return len(self.offsets_B1) - 1

    def counts(self) -> npt.NDArray[np.int64]:
        """Return the number of boxes of each image, shape (B,)."""
        return np.diff(self.offsets_B1)

    def image_rows(self) -> npt.NDArray[np.int64]:
        """Return the image of each box, shape (N,)."""
        return np.repeat(np.arange(len(self)), self.counts())

    def image(self, index: int) -> Labels:
        """Return the labels of one image, as a view."""
        return self.images(index, index + 1)

    def images(self, start: int, stop: int) -> Labels:
        """Return images `start` to `stop` (exclusive), as a view."""
        first, last = self.offsets_B1[start], self.offsets_B1[stop]
        return Labels(
            boxes_N4=self.boxes_N4[first:last],
            categories_N=self.categories_N[first:last],
            scores_N=self.scores_N[first:last],
            offsets_B1=self.offsets_B1[start : stop + 1] - first,
        )

    def keep(self, mask_N: npt.NDArray[np.bool_]) -> Labels:
        """Return the same images with only the boxes where the mask is true."""
        kept_before = offsets_of_counts(mask_N)
        return Labels(
            boxes_N4=self.boxes_N4[mask_N],
            categories_N=self.categories_N[mask_N],
            scores_N=self.scores_N[mask_N],
            offsets_B1=kept_before[self.offsets_B1],
        )

    def above(self, threshold: float | npt.NDArray[np.float64]) -> Labels:
        """Return the same images with only the boxes whose score is strictly above a threshold.

        `threshold` is one number, or an array of one a class.
        """
        thresholds = threshold[self.categories_N] if isinstance(threshold, np.ndarray) else threshold
        return self.keep(self.scores_N > thresholds)

    def scaled(self, factor: float) -> Labels:
        """Return the same images with every side times `factor`."""
        return Labels(
            boxes_N4=self.boxes_N4 * np.float32(factor),
            categories_N=self.categories_N,
            scores_N=self.scores_N,
            offsets_B1=self.offsets_B1,
        )

    @staticmethod
    def of_image(
        boxes_N4: npt.ArrayLike, categories_N: npt.ArrayLike, scores_N: npt.ArrayLike | None = None
    ) -> Labels:
        """Return the labels of a single image; scores are 1 where none are given."""
        boxes = np.asarray(boxes_N4, dtype=np.float32).reshape(-1, 4)
        scores = np.ones(len(boxes), np.float32) if scores_N is None else np.asarray(scores_N, np.float32)
        return Labels(
            boxes_N4=boxes,
            categories_N=np.asarray(categories_N, dtype=np.int32).reshape(-1),
            scores_N=scores.reshape(-1),
            offsets_B1=np.array([0, len(boxes)], dtype=np.int64),
        )

    @staticmethod
    def empty(num_images: int) -> Labels:
        """Return `num_images` images without boxes."""
        return Labels(
            boxes_N4=np.zeros((0, 4), np.float32),
            categories_N=np.zeros(0, np.int32),
            scores_N=np.zeros(0, np.float32),
            offsets_B1=np.zeros(num_images + 1, np.int64),
        )

    @staticmethod
    def concatenate(parts: Sequence[Labels]) -> Labels:
        """Return the images of all parts, in order."""
        if not parts:
            return Labels.empty(0)
        counts = np.concatenate([part.counts() for part in parts])
        return Labels(
            boxes_N4=np.concatenate([part.boxes_N4 for part in parts]),
            categories_N=np.concatenate([part.categories_N for part in parts]),
            scores_N=np.concatenate([part.scores_N for part in parts]),
            offsets_B1=offsets_of_counts(counts),
        )
