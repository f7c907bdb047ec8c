"""What `own` must know of a data set, from its tables alone: no image is opened.

In: the labeled, unlabeled and test sets of a run. Out: `DataSummary`, a dozen numbers.
Shapes: N boxes, B images, C classes.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from storage.dataset.dataset import Dataset
from storage.errors import ConfigError
from storage.tables.label_table import table_labels

SMALL = 0.1
"""The quantile of the objects' sizes that stands for the small ones."""


@dataclass(frozen=True, kw_only=True, slots=True)
class DataSummary:
    """The numbers of a data set that a training run goes by."""

    num_labeled: int
    num_unlabeled: int
    num_test: int
    num_boxes: int
    """Boxes of the labeled images."""
    short_side: int
    """Median short side of the labeled images, pixels."""
    long_side: int
    """Median long side of the labeled images, pixels."""
    small_object: float
    """Side of the small objects (square root of the area, a tenth are smaller), as a share of the short side."""
    median_class_share: float
    """Share of the labeled images that the median class is in."""
    rarest_class_share: float
    """Share of the labeled images that the rarest class is in, of those that are in any."""


def summarise(labeled: Dataset, unlabeled: Dataset | None, test: Dataset | None) -> DataSummary:
    """Return the numbers of these sets. Raises ConfigError where the labeled one has no box."""
    labels = table_labels(labeled.ground_truth().read_all(columns=["boxes", "categories", "scores"]))
    if not len(labels.categories_N):
        raise ConfigError(
            f"expected labeled images with boxes, got {labeled.num_images} without any: {labeled.root}"
        )
    images = labeled.images()
    sides_2B = np.sort(np.stack([images["width"].to_numpy(), images["height"].to_numpy()]), axis=0)
    rows_N, sizes_N2 = labels.image_rows(), labels.boxes_N4[:, 2:] - labels.boxes_N4[:, :2]
    relative_N = np.sqrt(sizes_N2.prod(axis=1)) / sides_2B[0][rows_N]
    class_of_pair = np.unique(np.stack([rows_N, labels.categories_N]), axis=1)[1]
    images_C = np.bincount(class_of_pair)
    share_C = images_C[images_C > 0] / len(images)
    return DataSummary(
        num_labeled=labeled.num_images,
        num_unlabeled=unlabeled.num_images if unlabeled else 0,
        num_test=test.num_images if test else 0,
        num_boxes=len(labels.categories_N),
        short_side=round(float(np.median(sides_2B[0]))),
        long_side=round(float(np.median(sides_2B[1]))),
        small_object=float(np.quantile(relative_N, SMALL)),
        median_class_share=float(np.median(share_C)),
        rarest_class_share=float(share_C.min()),
    )
