"""One truth table held against the images of its shard: what is wrong with it.

In: a `TruthTask`: the images of a shard in their order, and those with which something is wrong already. Out: the
number of boxes, and findings: a row an image, the sizes of the images, every box inside its image, every class
known, the boxes of KEY.json the same. Crowd regions and difficult objects are held to the same.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa

from storage import files
from storage.errors import StoreError
from storage.labels import Labels
from storage.tables.label_store import LabelStore
from storage.tables.label_table import table_labels
from storage.tables.list_columns import offsets_of
from storage.tables.parquet import reason
from storage.tables.schemas import OPTIONAL_TRUTH_SCHEMA, TRUTH_SCHEMA
from storage.tables.truth_table import table_crowds, table_difficult
from storage.verify.findings import Finding

LISTS = {
    "categories": "boxes",
    "scores": "boxes",
    "areas": "boxes",
    "crowd_categories": "crowd_boxes",
    "difficult_categories": "difficult_boxes",
}
"""Columns with a value for each box of another."""


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class TruthTask:
    """One table to check."""

    root: str
    folder: str
    """ground_truth or hidden_truth."""
    stem: str
    sizes: Mapping[str, tuple[int, int]]
    """(height, width) by key of the images of the shard, in the order of the image table."""
    reported: Collection[str]
    """Images with which something is wrong already: their rows are not compared."""
    in_order: bool
    """Whether the keys stand in the order of the tar."""
    descriptions: Mapping[str, Any]
    """Content of KEY.json by key, where it holds the boxes too."""
    num_classes: int

    @property
    def file(self) -> str:
        """Return the table's name below the root."""
        return f"{self.folder}/{self.stem}.parquet"


def check_truth(task: TruthTask) -> tuple[int, list[Finding]]:
    """Return the number of boxes of a truth table, and what is wrong with it."""
    store = LabelStore(files.join(task.root, task.folder))
    if not store.has(task.stem):
        expected = f"the truth of {len(task.sizes)} images"
        return 0, [Finding("missing truth table", task.file, expected, "no such file")]
    try:
        table = _known_columns(store.read(task.stem))
    except StoreError as error:
        return 0, [Finding("unreadable truth table", task.file, "a truth table", str(error))]
    parts = {"box": table_labels(table), "crowd": table_crowds(table), "difficult": table_difficult(table)}
    findings = [*_rows(task, table), *_sizes(task, table)]
    for name, labels in parts.items():
        findings += _outside(task, table, labels, name)
        findings += _unknown(task, table, labels, name)
    findings += _descriptions(task, table, parts["box"], {finding.key for finding in findings})
    return len(parts["box"].boxes_N4), findings


def _known_columns(table: pa.Table) -> pa.Table:
    """Return a table whose columns have the types and the list lengths of truth. Raises StoreError."""
    schema = pa.schema(
        [*TRUTH_SCHEMA, *(field for field in OPTIONAL_TRUTH_SCHEMA if field.name in table.column_names)]
    )
    try:
        table = table.select(schema.names).cast(schema)
    except (KeyError, pa.ArrowException) as error:
        raise StoreError(f"a table of other columns: {reason(error)}") from None
    for name in TRUTH_SCHEMA.names:
        if name != "step" and table[name].null_count:
            raise StoreError(f"nulls in column {name}")
    for column, boxes in LISTS.items():
        if column in table.column_names and not np.array_equal(
            offsets_of(table, column), offsets_of(table, boxes)
        ):
            raise StoreError(f"not as many {column} as {boxes} in each row")
    return table


def _rows(task: TruthTask, table: pa.Table) -> Iterator[Finding]:
    """Yield the rows that are too few, too many or in another order than the images of the shard."""
    kind, keys = "truth rows that differ", table["key"].to_pylist()
    counts = Counter(keys)
    for key in task.sizes:
        if counts[key] != 1 and key not in task.reported:
            yield Finding(kind, task.file, "one row for the image", f"{counts[key]} rows", key=key)
    for key in sorted(counts.keys() - task.sizes.keys() - set(task.reported)):
        expected, got = "rows of images of this shard only", "a row of no image of it"
        yield Finding(kind, task.file, expected, got, key=key)
    once = [key for key in keys if counts[key] == 1 and key in task.sizes]
    if task.in_order and once != [key for key in task.sizes if counts[key] == 1]:
        yield Finding(kind, task.file, "rows in the order of images.parquet", "another order")


def _sizes(task: TruthTask, table: pa.Table) -> Iterator[Finding]:
    """Yield the rows that tell another size of their image."""
    for key, *size in zip(*(table[name].to_pylist() for name in ("key", "height", "width")), strict=True):
        height, width = task.sizes.get(key, size)
        if [height, width] != size and key not in task.reported:
            expected, got = f"{width} x {height}", f"{size[1]} x {size[0]} in the row"
            yield Finding("truth rows that differ", task.file, expected, got, key=key)


def _outside(task: TruthTask, table: pa.Table, labels: Labels, name: str) -> Iterator[Finding]:
    rows_N = labels.image_rows()
    width_N, height_N = (table[side].to_numpy()[rows_N] for side in ("width", "height"))
    x1_N, y1_N, x2_N, y2_N = labels.boxes_N4.T  # NaN compares false
    good_N = (
        (x1_N >= 0) & (x1_N <= x2_N) & (x2_N <= width_N) & (y1_N >= 0) & (y1_N <= y2_N) & (y2_N <= height_N)
    )
    for index in np.flatnonzero(~good_N):
        key = table["key"][int(rows_N[index])].as_py()
        expected = f"a {name} within 0 0 {width_N[index]} {height_N[index]}"
        corners = " ".join(f"{side:g}" for side in labels.boxes_N4[index])
        yield Finding("box outside its image", task.file, expected, corners, key=key)


def _unknown(task: TruthTask, table: pa.Table, labels: Labels, name: str) -> Iterator[Finding]:
    rows_N = labels.image_rows()
    for index in np.flatnonzero((labels.categories_N < 0) | (labels.categories_N >= task.num_classes)):
        key = table["key"][int(rows_N[index])].as_py()
        expected, got = f"a class of 0..{task.num_classes - 1}", f"{labels.categories_N[index]} of a {name}"
        yield Finding("unknown class", task.file, expected, got, key=key)


def _descriptions(
    task: TruthTask, table: pa.Table, labels: Labels, reported: Collection[str | None]
) -> Iterator[Finding]:
    """Yield the images whose KEY.json, which has no hash, tells other boxes or classes than the table."""
    for row, key in enumerate(table["key"].to_pylist()):
        if key in reported or key not in task.descriptions:
            continue
        truth = labels.image(row)
        if not _tells(task.descriptions[key], truth):
            expected = f"the {len(truth.boxes_N4)} boxes and classes of {task.file}"
            yield Finding("KEY.json with other boxes", f"{task.stem}.tar", expected, "others", key=key)


def _tells(description: Mapping[str, Any], truth: Labels) -> bool:
    try:
        boxes_N4 = np.array(description["boxes"], np.float32).reshape(-1, 4)
    except (KeyError, TypeError, ValueError):  # no boxes, or something else in their place
        return False
    return description.get("categories") == truth.categories_N.tolist() and np.array_equal(
        boxes_N4, truth.boxes_N4
    )
