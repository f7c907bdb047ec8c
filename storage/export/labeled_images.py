"""Labels on their way out: some images of a round at a time, with their names and the boxes that are wanted.

In: a complete round and the data set that it labeled. Out: `LabeledImages`, at most `IMAGES_AT_ONCE` each, in the
order of the label tables: one table is in memory at a time, never the round. An image labeled as empty, or of
which no box is wanted, comes without boxes; an image that was not labeled does not come.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from storage.dataset.dataset import Dataset
from storage.errors import StoreError
from storage.export.condition import Condition, box_table
from storage.labels import Labels
from storage.rounds.round import Round, RoundInfo
from storage.tables.label_table import check_labels, table_labels
from storage.tables.list_columns import row_numbers

IMAGES_AT_ONCE = 1024


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class LabeledImages:
    """B images with the boxes that are exported."""

    rows: npt.NDArray[np.int64]
    """Shape (B,): where each image stands in the image table of its data set."""
    image_ids: npt.NDArray[np.int64]
    file_names: tuple[str, ...]
    sizes: npt.NDArray[np.int32]
    """Shape (B, 2): height and width."""
    labels: Labels


@dataclass(frozen=True, kw_only=True, slots=True)
class LabelSource:
    """A complete round, and the data set whose images it labeled."""

    round: Round
    info: RoundInfo
    dataset: Dataset

    @property
    def category_ids(self) -> tuple[int, ...]:
        """Return the original ids of the round's classes; 1, 2, 3 ... where its data set knows no classes."""
        if self.dataset.classes == self.info.classes:
            return self.dataset.category_ids
        return tuple(range(1, len(self.info.classes) + 1))


def labeled_images(source: LabelSource, condition: Condition | None) -> Iterator[LabeledImages]:
    """Yield all labeled images with their boxes for which the condition holds.

    Without a condition these are the round's pseudo labels: boxes that score above the threshold of their
    class. Raises StoreError naming the table when it is damaged, holds a box or class that cannot be, or labels
    an image that the data set lacks, and after the last table when one of the round is gone.
    """
    store, index, thresholds = (
        source.round.labels(),
        _ImageIndex(source.dataset),
        source.round.class_thresholds(),
    )
    num_images = 0
    for stem in store.stems():
        table = store.read(stem)
        num_images += len(table)
        check_labels(table, num_classes=len(source.info.classes), where=store.path(stem))
        labels = table_labels(table)
        rows = index.find(table["image_id"].to_numpy(), where=store.path(stem))
        for start in range(0, len(table), IMAGES_AT_ONCE):
            part = table.slice(start, IMAGES_AT_ONCE)
            boxes = labels.images(start, start + len(part))
            if condition is None:
                wanted_N = boxes.scores_N.astype(np.float64) > thresholds[boxes.categories_N]
            else:
                wanted_N = condition.holds(box_table(part, boxes, source.info, thresholds))
            yield _images(part, boxes.keep(wanted_N), rows[start : start + len(part)], index)
    if num_images != source.info.num_images:
        raise StoreError(
            f"expected {source.info.num_images:,} images as round.json says, got {num_images:,} in the label "
            f"tables: {source.round.path}; remove its round.json and run the same `mixpl label` again"
        )


def _images(
    table: pa.Table, labels: Labels, rows: npt.NDArray[np.int64], index: _ImageIndex
) -> LabeledImages:
    return LabeledImages(
        rows=rows,
        image_ids=table["image_id"].to_numpy(),
        file_names=index.file_names(rows),
        sizes=np.stack([table["height"].to_numpy(), table["width"].to_numpy()], axis=1),
        labels=labels,
    )


class _ImageIndex:
    """Rows of an image table by image id."""

    def __init__(self, dataset: Dataset) -> None:
        images = dataset.images()
        self._dataset = dataset
        self._names = images["file_name"]
        self._ids = images["image_id"]

    def find(self, image_ids: npt.NDArray[np.int64], *, where: str) -> npt.NDArray[np.int64]:
        """Return the row of each image."""
        rows = row_numbers(image_ids, self._ids)
        if (rows < 0).any():
            raise StoreError(
                f"expected labels of images of {self._dataset.root}, got image {image_ids[rows < 0][0]}, which it "
                f"lacks: {where}; name the data set that was labeled with --data"
            )
        return rows

    def file_names(self, rows: npt.NDArray[np.int64]) -> tuple[str, ...]:
        """Return the names of images by row."""
        return tuple(self._names.take(pa.array(rows)).to_pylist())
