"""What a truth table knows beside boxes and crowds: difficult objects, and which classes were looked for.

In: a truth table and the `Truth` of its images. Out: the table with the optional columns of truth, only
where the source knows such things; and the way back. Difficult objects (Pascal VOC) lie in columns of their own,
as crowds do: nothing that reads `boxes` trains on one or counts one, and an evaluation that knows the columns
leaves detections of them out of its count. The federated fields (LVIS) are columns of the truth and not of the
image table, because they tell what is in an image; null there means that every class was looked for.
"""

from __future__ import annotations

import pyarrow as pa

from storage.labels import Labels
from storage.tables.label_store import OPTIONAL_TRUTH_SCHEMA
from storage.tables.list_columns import column_labels, label_columns
from storage.truth import Federated, Truth


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
