"""Labels as an Arrow table, one row an image: made, read back, checked.

In: keys, sizes and `Labels` of images. Out: a table of LABEL_SCHEMA; and `Labels` again. Guaranteed by
`check_labels`: every box, score and category is sound, or the first bad row is named.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from storage.errors import StoreError
from storage.labels import Labels
from storage.tables.list_columns import box_lists, flat, lists, offsets_of
from storage.tables.schemas import LABEL_SCHEMA


def label_table(
    keys: Sequence[str],
    image_ids: Sequence[int] | npt.NDArray[np.int64],
    sizes_B2: npt.ArrayLike,
    labels: Labels,
    *,
    step: int | None = None,
) -> pa.Table:
    """Return a label table of B images; `sizes_B2` holds (height, width) of the original images."""
    sizes = np.asarray(sizes_B2, dtype=np.int32).reshape(-1, 2)
    assert len(keys) == len(image_ids) == len(sizes) == len(labels), "one row an image"
    columns = {
        "key": pa.array(keys, pa.string()),
        "image_id": pa.array(image_ids, pa.int64()),
        "width": pa.array(sizes[:, 1]),
        "height": pa.array(sizes[:, 0]),
        "boxes": box_lists(labels),
        "categories": lists(labels.offsets_B1, pa.array(labels.categories_N, pa.int32())),
        "scores": lists(labels.offsets_B1, pa.array(labels.scores_N, pa.float32())),
        "step": pa.array([step] * len(keys), pa.int64()),
    }
    return pa.table(columns).cast(LABEL_SCHEMA)


def table_labels(table: pa.Table) -> Labels:
    """Return the boxes of a label table, one image a row, without crowd regions."""
    return Labels(
        boxes_N4=flat(table, "boxes", np.float32).reshape(-1, 4),
        categories_N=flat(table, "categories", np.int32),
        scores_N=flat(table, "scores", np.float32),
        offsets_B1=offsets_of(table, "boxes"),
    )


def check_labels(table: pa.Table, *, num_classes: int | None, where: str) -> None:
    """Raise StoreError, naming the first bad row, unless every box, score and category is sound."""
    keys = table["key"].to_pylist()
    if len(set(keys)) != len(keys):
        twice = next(key for index, key in enumerate(keys) if key in keys[:index])
        raise StoreError(f"expected one row an image, got key {twice!r} twice: {where}; drop the second row")
    for column in ("categories", "scores", "areas"):
        if column in table.column_names and not np.array_equal(
            offsets_of(table, column), offsets_of(table, "boxes")
        ):
            raise StoreError(
                f"expected as many {column} as boxes in each row, got other list lengths: {where}"
            )
    labels = table_labels(table)
    boxes_N4, scores_N, categories_N = labels.boxes_N4, labels.scores_N, labels.categories_N
    highest = np.iinfo(np.int32).max if num_classes is None else num_classes - 1
    rules = (
        ("finite boxes", np.isfinite(boxes_N4).all(axis=1), boxes_N4),
        ("boxes with x1 <= x2 and y1 <= y2", (boxes_N4[:, :2] <= boxes_N4[:, 2:]).all(axis=1), boxes_N4),
        ("scores within 0..1", (scores_N >= 0) & (scores_N <= 1), scores_N),
        (f"categories within 0..{highest}", (categories_N >= 0) & (categories_N <= highest), categories_N),
    )
    for expected, good_N, values in rules:
        if not good_N.all():
            index = int(np.argmin(good_N))
            row = int(np.searchsorted(labels.offsets_B1, index, side="right")) - 1
            raise StoreError(
                f"expected {expected}, got {values[index].tolist()} in row {row}, key {keys[row]!r}: "
                f"{where}; correct what produced it"
            )


def check_columns(table: pa.Table, schema: pa.Schema, where: str) -> None:
    """Raise StoreError when a column of the schema is not there or holds nulls; `step` may."""
    missing = [name for name in schema.names if name not in table.column_names]
    if missing:
        raise StoreError(
            f"expected the columns {', '.join(schema.names)}, got a table without "
            f"{', '.join(missing)}: {where}; build it with label_table"
        )
    for name in schema.names:
        if name != "step" and table[name].null_count:
            raise StoreError(f"expected no nulls, got {table[name].null_count} in column {name!r}: {where}")
