"""What a truth table knows beside its boxes: areas, crowds, difficult objects, and which classes were looked for.

In: a label table and the `Truth` of its images. Out: the table with the columns of truth, the optional ones only
where the source knows such things; and the way back. Difficult objects (Pascal VOC) lie in columns of their own,
as crowds do: nothing that reads `boxes` trains on one or counts one, and an evaluation that knows the columns
leaves detections of them out of its count. The federated fields (LVIS) are columns of the truth and not of the
image table, because they tell what is in an image; null there means that every class was looked for.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from storage.labels import Labels
from storage.tables.label_table import table_labels
from storage.tables.list_columns import column_labels, flat, label_columns, lists, offsets_of
from storage.tables.schemas import OPTIONAL_TRUTH_SCHEMA, schema_of
from storage.truth import Federated, Truth


def truth_table(table: pa.Table, *, areas_N: npt.NDArray[np.float64], crowds: Labels) -> pa.Table:
    """Return a label table with the truth columns added: annotated areas, crowd regions of each image."""
    offsets = offsets_of(table, "boxes")
    assert offsets[-1] == len(areas_N), "one area a box"
    assert len(crowds) == len(table), "crowds for every image"
    extended = table.append_column("areas", lists(offsets, pa.array(areas_N, pa.float64())))
    for name, column in zip(("crowd_boxes", "crowd_categories"), label_columns(crowds), strict=True):
        extended = extended.append_column(name, column)
    return extended.cast(schema_of(extended))


def with_truth_columns(table: pa.Table, truth: Truth) -> pa.Table:
    """Return a truth table of the images of `truth` with the columns that its source speaks of."""
    columns: dict[str, pa.Array] = {}
    if truth.difficult is not None:
        boxes, categories = label_columns(truth.difficult)
        columns |= {"difficult_boxes": boxes, "difficult_categories": categories}
    if truth.federated is not None:
        columns |= {
            "absent_categories": pa.array(truth.federated.absent, pa.list_(pa.int32())),
            "not_exhaustive_categories": pa.array(truth.federated.not_exhaustive, pa.list_(pa.int32())),
        }
    for name, column in columns.items():
        kind = OPTIONAL_TRUTH_SCHEMA.field(name)
        table = table.append_column(kind, column.cast(kind.type))
    return table


def table_crowds(table: pa.Table) -> Labels:
    """Return the crowd regions of a truth table, one image a row; none where the table knows no crowds."""
    if "crowd_boxes" not in table.column_names:
        return Labels.empty(len(table))
    return column_labels(table, "crowd_boxes", "crowd_categories")


def table_areas(table: pa.Table) -> npt.NDArray[np.float64]:
    """Return the annotated area of each box of `table_labels(table)`; width x height where unknown."""
    if "areas" in table.column_names:
        return flat(table, "areas", np.float64)
    boxes_N4 = table_labels(table).boxes_N4.astype(np.float64)
    return np.asarray((boxes_N4[:, 2] - boxes_N4[:, 0]) * (boxes_N4[:, 3] - boxes_N4[:, 1]))


def table_difficult(table: pa.Table) -> Labels:
    """Return the difficult objects of a truth table, one image a row; none where the table knows none."""
    if "difficult_boxes" not in table.column_names:
        return Labels.empty(len(table))
    return column_labels(table, "difficult_boxes", "difficult_categories")


def table_federated(table: pa.Table) -> Federated | None:
    """Return the federated fields of a truth table; None where every class was looked for."""
    if "absent_categories" not in table.column_names:
        return None
    absent, not_exhaustive = (
        tuple(tuple(row or ()) for row in table[name].to_pylist())
        for name in ("absent_categories", "not_exhaustive_categories")
    )
    return Federated(absent=absent, not_exhaustive=not_exhaustive)
