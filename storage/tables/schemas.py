"""The columns of label tables and truth tables.

In: a table. Out: the schema that it should have. Crowd regions lie in columns of their own, so that no reader of
`boxes` can train on one by mistake.
"""

from __future__ import annotations

import pyarrow as pa

_BOX = pa.list_(pa.field("element", pa.float32()), 4)
_BOXES = pa.list_(pa.field("element", _BOX))
_CATEGORIES = pa.list_(pa.field("element", pa.int32()))

LABEL_SCHEMA = pa.schema(
    [
        pa.field("key", pa.string()),
        pa.field("image_id", pa.int64()),
        pa.field("width", pa.int32()),
        pa.field("height", pa.int32()),
        pa.field("boxes", _BOXES),
        pa.field("categories", _CATEGORIES),
        pa.field("scores", pa.list_(pa.field("element", pa.float32()))),
        pa.field("step", pa.int64()),
    ]
)
"""Columns of every label table. Boxes are xyxy in pixels of the original image; `step` is the teacher's
training step, null for truth."""

TRUTH_SCHEMA = pa.schema(
    [
        *LABEL_SCHEMA,
        pa.field("areas", pa.list_(pa.field("element", pa.float64()))),
        pa.field("crowd_boxes", _BOXES),
        pa.field("crowd_categories", _CATEGORIES),
    ]
)
"""Label columns, then: the annotated area of each box (COCO's size bins use it), and the crowd regions that
an evaluation ignores and training never sees."""

OPTIONAL_TRUTH_SCHEMA = pa.schema(
    [
        pa.field("difficult_boxes", _BOXES),
        pa.field("difficult_categories", _CATEGORIES),
        pa.field("absent_categories", _CATEGORIES),
        pa.field("not_exhaustive_categories", _CATEGORIES),
    ]
)
"""More columns of truth, where the source knows such things: see `storage.tables.truth_table`."""

STORED_SCHEMA = pa.schema([*TRUTH_SCHEMA, *OPTIONAL_TRUTH_SCHEMA])
"""Every column that a label table or truth table may have."""
NULLABLE = ("step", "absent_categories", "not_exhaustive_categories")
"""Columns whose values may be null."""


def schema_of(table: pa.Table) -> pa.Schema:
    """Return the schema of a label table, or of a truth table with the optional columns that it has."""
    if "areas" not in table.column_names:
        return LABEL_SCHEMA
    return pa.schema(
        [*TRUTH_SCHEMA, *(field for field in OPTIONAL_TRUTH_SCHEMA if field.name in table.column_names)]
    )
