"""Labeled images on their way out, with their names and the boxes that are wanted.

In: images and their `Labels`. Out: `LabeledImages`, and the Arrow table of it that the queries of `sql/` read. An
image labeled as empty, or of which no box is wanted, comes without boxes; one that was not labeled does not come.
"""

from __future__ import annotations

from dataclasses import dataclass

import pyarrow as pa

from storage.labels import Labels
from storage.tables.list_columns import label_columns, lists
from storage.tables.schemas import LABEL_SCHEMA

IMAGE_SCHEMA = pa.schema(
    [
        pa.field("row", pa.int64()),
        pa.field("image_id", pa.int64()),
        pa.field("file_name", pa.string()),
        pa.field("width", pa.int32()),
        pa.field("height", pa.int32()),
    ]
)
"""One row an image; `row` is where it stands in the image table of its data set."""

LABELED_SCHEMA = pa.schema(
    [*IMAGE_SCHEMA, *(LABEL_SCHEMA.field(name) for name in ("boxes", "categories", "scores"))]
)


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class LabeledImages:
    """B images with the boxes that are exported."""

    images: pa.Table
    """IMAGE_SCHEMA."""
    labels: Labels

    def __len__(self) -> int:
        """Return the number of images."""
        return len(self.labels)

    @property
    def file_names(self) -> list[str]:
        """Return the name of each image in the annotation file or image folder."""
        return [str(name) for name in self.images["file_name"].to_pylist()]

    def table(self) -> pa.Table:
        """Return what the queries of `sql/` read as `labeled`: one row an image, its boxes as lists."""
        boxes, categories = label_columns(self.labels)
        scores = lists(self.labels.offsets_B1, pa.array(self.labels.scores_N))
        columns = [*self.images.columns, boxes, categories, scores]
        return pa.table(columns, names=LABELED_SCHEMA.names).cast(LABELED_SCHEMA)
