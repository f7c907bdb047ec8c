"""Between columns of Arrow tables and flat arrays, without a copy per row.

In: `Labels`, or a table with list columns, one image a row. Out: the other of the two. Where every label table
and truth table turns into arrays and back.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from storage.labels import Labels, offsets_of_counts


def label_columns(labels: Labels) -> tuple[pa.Array, pa.Array]:
    """Return boxes and categories as list columns, one image a row."""
    categories = lists(labels.offsets_B1, pa.array(labels.categories_N, pa.int32()))
    return box_lists(labels), categories


def column_labels(table: pa.Table, boxes: str, categories: str) -> Labels:
    """Return what two list columns hold, with scores of 1."""
    boxes_N4 = flat(table, boxes, np.float32).reshape(-1, 4)
    return Labels(
        boxes_N4=boxes_N4,
        categories_N=flat(table, categories, np.int32),
        scores_N=np.ones(len(boxes_N4), np.float32),
        offsets_B1=offsets_of(table, boxes),
    )


def lists(offsets: npt.NDArray[Any], values: pa.Array) -> pa.Array:
    """Return a list column: row b owns `values[offsets[b]:offsets[b + 1]]`."""
    return pa.ListArray.from_arrays(pa.array(offsets, pa.int32()), values)


def box_lists(labels: Labels) -> pa.Array:
    """Return the boxes as a list column, one image a row."""
    return lists(labels.offsets_B1, box_values(labels))


def box_values(labels: Labels) -> pa.Array:
    """Return the boxes as a column, one box a row."""
    sides = pa.array(np.ascontiguousarray(labels.boxes_N4, np.float32).reshape(-1))
    return pa.FixedSizeListArray.from_arrays(sides, 4)


def flat(table: pa.Table, column: str, dtype: Any) -> npt.NDArray[Any]:
    """Return all values of a list column, of whatever depth, in one array."""
    values = _one_array(table, column).flatten()
    while pa.types.is_list(values.type) or pa.types.is_fixed_size_list(values.type):
        values = values.flatten()
    return np.asarray(values.to_numpy(zero_copy_only=False), dtype=dtype)


def offsets_of(table: pa.Table, column: str) -> npt.NDArray[np.int64]:
    """Return where the list of each row begins in `flat`, and last where it ends; shape (B + 1,)."""
    rows = _one_array(table, column)
    counts = np.diff(rows.offsets.to_numpy()) if len(rows) else np.zeros(0, np.int64)
    return offsets_of_counts(counts)


def _one_array(table: pa.Table, column: str) -> pa.Array:
    chunks = table[column].combine_chunks()
    return chunks if isinstance(chunks, pa.Array) else pa.concat_arrays(chunks.chunks)
