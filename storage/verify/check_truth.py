"""One truth table held against the images of its shard: what is wrong with it.

In: a `TruthTask`: the images of a shard in their order, and those with which something is wrong already. Out: the
number of boxes, and findings: a row an image, the sizes of the images, every box inside its image, every class
known, the boxes of KEY.json the same. Crowd regions and difficult objects are held to the same.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa

from storage import files
from storage.errors import StoreError
from storage.labels import Labels
from storage.tables.label_store import TRUTH_SCHEMA, LabelStore, table_crowds, table_labels
from storage.tables.list_columns import offsets_of
from storage.tables.truth_table import table_difficult
from storage.verify.findings import Finding


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class TruthTask:
    """One table to check."""

    root: str
    folder: str
    """ground_truth or hidden_truth."""
    stem: str
    keys: Sequence[str]
    """The images of the shard, in the order of the image table."""
    sizes: Mapping[str, tuple[int, int]]
    """(height, width) by key."""
    reported: Collection[str]
    """Images with which something is wrong already: their rows are not compared."""
    in_order: bool
    """Whether the keys stand in the order of the tar."""
    described: Mapping[str, Any]
    """KEY.json by key, where it holds the boxes too."""
    num_classes: int

    @property
    def place(self) -> str:
        """Return the table's name below the root."""
        return f"{self.folder}/{self.stem}.parquet"


def check_truth(task: TruthTask) -> tuple[int, list[Finding]]:
    """Return the number of boxes of a truth table, and what is wrong with it."""
    store = LabelStore(files.join(task.root, task.folder))
    if not store.has(task.stem):
        wanted = f"the truth of {len(task.keys)} images"
        return 0, [_finding(task, "missing truth table", wanted, "no such file")]
    try:
        table = store.read(task.stem)
        _require_columns(table)
        parts = {
            "box": table_labels(table),
            "crowd": table_crowds(table),
            "difficult": table_difficult(table),
        }
    except ValueError as error:
        return 0, [_finding(task, "unreadable truth table", "a truth table", str(error))]
    findings = list(_rows(task, table))
    for name, labels in parts.items():
        findings += _outside(task, table, labels, name)
        findings += _unknown(task, table, labels, name)
    findings += _described(task, table, parts["box"], {finding.key for finding in findings})
    return len(parts["box"].boxes_N4), findings


def _require_columns(table: pa.Table) -> None:
    missing = [name for name in TRUTH_SCHEMA.names if name not in table.column_names]
    if missing:
        raise StoreError(f"a table without {', '.join(missing)}")
    for column in ("categories", "scores", "areas"):
        if not np.array_equal(offsets_of(table, column), offsets_of(table, "boxes")):
            raise StoreError(f"not as many {column} as boxes in each row")


def _rows(task: TruthTask, table: pa.Table) -> Iterator[Finding]:
    """Yield what differs between the rows and the images of the shard."""
    kind, keys = "truth rows that differ", table["key"].to_pylist()
    counts, wanted = Counter(keys), Counter(task.keys)
    for key in wanted:
        if counts[key] != 1 and key not in task.reported:
            yield _finding(task, kind, "one row for the image", f"{counts[key]} rows", key=key)
    for key in sorted(counts.keys() - wanted.keys() - set(task.reported)):
        yield _finding(task, kind, "rows of images of this shard only", "a row of no image of it", key=key)
    common = [[key for key in one if counts[key] == wanted[key] == 1] for one in (task.keys, keys)]
    if task.in_order and common[0] != common[1]:
        yield _finding(task, kind, "rows in the order of images.parquet", "another order")
    sizes = zip(table["height"].to_pylist(), table["width"].to_pylist(), strict=True)
    for key, size in zip(keys, sizes, strict=True):
        if key not in task.reported and task.sizes.get(key, size) != size:
            height, width = task.sizes[key]
            yield _finding(task, kind, f"{width} x {height}", f"{size[1]} x {size[0]} in the row", key=key)


def _outside(task: TruthTask, table: pa.Table, labels: Labels, name: str) -> Iterator[Finding]:
    rows_N = np.repeat(np.arange(len(labels)), labels.counts())
    width_N, height_N = (table[side].to_numpy()[rows_N] for side in ("width", "height"))
    x1_N, y1_N, x2_N, y2_N = labels.boxes_N4.T  # NaN compares false
    good_N = (
        (x1_N >= 0) & (x1_N <= x2_N) & (x2_N <= width_N) & (y1_N >= 0) & (y1_N <= y2_N) & (y2_N <= height_N)
    )
    for index in np.flatnonzero(~good_N):
        key = table["key"][int(rows_N[index])].as_py()
        size = f"a {name} within 0 0 {width_N[index]} {height_N[index]}"
        corners = " ".join(f"{side:g}" for side in labels.boxes_N4[index])
        yield _finding(task, "box outside its image", size, corners, key=key)


def _unknown(task: TruthTask, table: pa.Table, labels: Labels, name: str) -> Iterator[Finding]:
    rows_N = np.repeat(np.arange(len(labels)), labels.counts())
    for index in np.flatnonzero((labels.categories_N < 0) | (labels.categories_N >= task.num_classes)):
        key, highest = table["key"][int(rows_N[index])].as_py(), task.num_classes - 1
        got = f"{labels.categories_N[index]} of a {name}"
        yield _finding(task, "unknown class", f"a class of 0..{highest}", got, key=key)


def _described(
    task: TruthTask, table: pa.Table, labels: Labels, reported: Collection[str | None]
) -> Iterator[Finding]:
    """Yield the images whose KEY.json, which has no hash, tells other boxes or classes than the table."""
    for row, key in enumerate(table["key"].to_pylist()):
        if key in reported or key not in task.described:
            continue
        truth, told = labels.image(row), task.described[key]
        try:
            boxes_N4 = np.array(told["boxes"], np.float32).reshape(-1, 4)
            same = told["categories"] == truth.categories_N.tolist() and np.array_equal(
                boxes_N4, truth.boxes_N4
            )
        except (KeyError, TypeError, ValueError):
            same = False
        if not same:
            yield Finding(
                kind="KEY.json with other boxes",
                place=f"{task.stem}.tar",
                key=key,
                expected=f"the {len(truth.boxes_N4)} boxes and classes of {task.place}",
                got="others",
            )


def _finding(task: TruthTask, kind: str, expected: str, got: str, *, key: str | None = None) -> Finding:
    return Finding(kind=kind, place=task.place, key=key, expected=expected, got=got)
