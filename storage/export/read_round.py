"""A round's labels on their way out: some images at a time.

In: a complete round and the data set that it labeled. Out: `LabeledImages`, at most `IMAGES_AT_ONCE` each, in the
order of the label tables: one table is in memory at a time, never the round.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from storage.dataset.dataset import Dataset
from storage.errors import StoreError
from storage.export.condition import Condition
from storage.export.labeled_images import IMAGE_SCHEMA, LabeledImages
from storage.rounds.round import Round, RoundInfo
from storage.tables.label_table import check_labels, table_labels

IMAGES_AT_ONCE = 1024


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
    store = source.round.labels()
    names = source.dataset.images()["file_name"]
    thresholds = source.round.class_thresholds()
    if condition is not None:
        condition.use_round(source.info, thresholds)
    num_images = 0
    for stem in store.stems():
        table = store.read(stem)
        num_images += len(table)
        check_labels(table, num_classes=len(source.info.classes), where=store.path(stem))
        labels = table_labels(table)
        rows = pa.array(_rows(source.dataset, table, where=store.path(stem)))
        for start in range(0, len(table), IMAGES_AT_ONCE):
            part = table.slice(start, IMAGES_AT_ONCE)
            boxes = labels.images(start, start + len(part))
            if condition is None:
                wanted_N = boxes.scores_N.astype(np.float64) > thresholds[boxes.categories_N]
            else:
                wanted_N = condition.holds(part)
            images = _images(part, rows.slice(start, len(part)), names)
            yield LabeledImages(images=images, labels=boxes.keep(wanted_N))
    if num_images != source.info.num_images:
        raise StoreError(
            f"expected {source.info.num_images:,} images as round.json says, got {num_images:,} in the label "
            f"tables: {source.round.path}; remove its round.json and run the same `mixpl label` again"
        )


def _rows(dataset: Dataset, table: pa.Table, *, where: str) -> npt.NDArray[np.int64]:
    """Return the row of the image table of each image of a label table."""
    rows = dataset.rows_of(table["key"])
    if (rows < 0).any():
        lacking = table["image_id"].to_numpy()[rows < 0][0]
        raise StoreError(
            f"expected labels of images of {dataset.root}, got image {lacking}, which it lacks: {where}; name "
            "the data set that was labeled with --data"
        )
    return rows


def _images(labels: pa.Table, rows: pa.Array, names: pa.ChunkedArray) -> pa.Table:
    """Return the images of some rows of a label table (IMAGE_SCHEMA), which stand in `rows` of the image table."""
    columns = {"row": rows, "file_name": names.take(rows)}
    columns |= {name: labels[name] for name in ("image_id", "width", "height")}
    return pa.table(columns).select(IMAGE_SCHEMA.names).cast(IMAGE_SCHEMA)
