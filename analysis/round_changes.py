"""What changed between two rounds of pseudo labels: appeared, vanished, moved, stayed.

In: two complete rounds over the same images with the same classes. Out: `RoundChanges`, one row a pseudo label of
either round, and its sums by class. SQL brings the rounds side by side and sums up; `analysis.matching` pairs the
boxes. Guaranteed: each pseudo label (score above its round's threshold for its class) of an image that both rounds
labeled stands in exactly one row; a pair has the same class and an IoU of at least `iou_threshold`, the newer
boxes choosing in falling score.

Shapes: N boxes of the newer round, M of the older.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from analysis.matching import match_labels
from analysis.queries import ask
from storage.database.connect import connect
from storage.database.workspace import Workspace
from storage.errors import ConfigError
from storage.labels import Labels
from storage.rounds.round import Round, RoundInfo
from storage.tables.label_table import table_labels
from storage.tables.list_columns import box_values

STAYED_IOU = 0.9
"""A pair that overlaps less has moved."""

Ints = npt.NDArray[np.int64]

_BOX = pa.list_(pa.field("element", pa.float32()), 4)
CHANGE_SCHEMA = pa.schema(
    [
        pa.field("key", pa.string()),
        pa.field("image_id", pa.int64()),
        pa.field("category", pa.int32()),
        pa.field("class", pa.string()),
        pa.field("change", pa.string()),
        pa.field("iou", pa.float64()),
        pa.field("old_score", pa.float32()),
        pa.field("new_score", pa.float32()),
        pa.field("old_box", _BOX),
        pa.field("new_box", _BOX),
    ]
)
"""`change` is stayed, moved, appeared or vanished. What one round lacks is null; boxes are xyxy in pixels."""


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class RoundChanges:
    """What changed from an older to a newer round."""

    num_images: int
    """Images that both rounds labeled."""
    only_older: int
    """Images that only the older round labeled."""
    only_newer: int
    table: pa.Table
    """CHANGE_SCHEMA, ordered by image."""
    by_class: pa.Table
    """The answer to `analysis/sql/round_changes_by_class.sql`."""


def compare_rounds(
    older: Round, newer: Round, *, iou_threshold: float = 0.5, stayed_iou: float = STAYED_IOU
) -> RoundChanges:
    """Compare the pseudo labels of two rounds.

    Raises ConfigError when one is incomplete, when their class lists differ, or when they labeled other images.
    """
    if not 0 < iou_threshold <= stayed_iou <= 1:
        raise ConfigError(
            f"expected 0 < IoU of a pair <= IoU of one that stayed <= 1, got {iou_threshold} and {stayed_iou}"
        )
    older_info, newer_info = _require_comparable(older, newer)
    numbered = (replace(older, number=0), replace(newer, number=1))  # two folders may share a number
    with connect(Workspace(rounds=numbered)) as con:
        both = ask(con, "labels_of_two_rounds")
        old, new = (
            _pseudo_labels(both, prefix, round_) for prefix, round_ in (("old_", older), ("new_", newer))
        )
        table = _changes(
            both, old, new, older_info.classes, iou_threshold=iou_threshold, stayed_iou=stayed_iou
        )
        con.register("changes", table)
        by_class = ask(con, "round_changes_by_class")
    return RoundChanges(
        num_images=len(both),
        only_older=older_info.num_images - len(both),
        only_newer=newer_info.num_images - len(both),
        table=table,
        by_class=by_class,
    )


def _require_comparable(older: Round, newer: Round) -> tuple[RoundInfo, RoundInfo]:
    if older.path == newer.path:
        raise ConfigError(f"expected two rounds, got the same one twice: {older.path}; name another")
    for round_ in (older, newer):
        if round_.info is None:
            raise ConfigError(
                f"expected two complete rounds, got an incomplete one: {round_.path}; run `mixpl label` to its end"
            )
    assert older.info is not None
    assert newer.info is not None
    if older.info.classes != newer.info.classes:
        raise ConfigError(
            f"expected rounds with the same classes, got {_difference(older.info.classes, newer.info.classes)}: "
            f"{older.path} and {newer.path}; compare rounds of one class list"
        )
    if older.info.dataset_hash != newer.info.dataset_hash:
        raise ConfigError(
            f"expected rounds over the same images, got {older.info.dataset_name} ({older.path}) and "
            f"{newer.info.dataset_name} ({newer.path}), whose hashes differ; name two rounds of one data set"
        )
    return older.info, newer.info


def _difference(older: Sequence[str], newer: Sequence[str]) -> str:
    """Say how two class lists differ, by the first class that does."""
    for number, (old, new) in enumerate(zip(older, newer, strict=False)):
        if old != new:
            return f"{len(older)} and {len(newer)}, class {number} being {old!r} and {new!r}"
    longer = older if len(older) > len(newer) else newer
    return f"{len(older)} and {len(newer)}, {longer[min(len(older), len(newer))]!r} only in one"


def _pseudo_labels(both: pa.Table, prefix: str, round_: Round) -> Labels:
    names = ["boxes", "categories", "scores"]
    labels = table_labels(both.select([prefix + name for name in names]).rename_columns(names))
    return labels.above(round_.class_thresholds())  # in double precision, as SQL does


def _changes(
    both: pa.Table,
    old: Labels,
    new: Labels,
    classes: Sequence[str],
    *,
    iou_threshold: float,
    stayed_iou: float,
) -> pa.Table:
    matches = match_labels(new, old, iou_threshold=iou_threshold)
    vanished_V = np.flatnonzero(~matches.found(len(old.boxes_N4)))
    old_row = np.concatenate([matches.truth_N, vanished_V])
    new_row = np.concatenate([np.arange(len(new.boxes_N4)), np.full(len(vanished_V), -1)])
    iou = np.concatenate([matches.iou_N, np.zeros(len(vanished_V))])
    image = np.concatenate([new.image_rows(), old.image_rows()[vanished_V]])
    category = np.concatenate([new.categories_N, old.categories_N[vanished_V]])
    change = np.select(
        [old_row < 0, new_row < 0, iou >= stayed_iou], ["appeared", "vanished", "stayed"], "moved"
    )
    columns = {
        "key": both["key"].take(image),
        "image_id": both["image_id"].take(image),
        "category": pa.array(category, pa.int32()),
        "class": pa.array(classes, pa.string()).take(pa.array(category, pa.int32())),
        "change": pa.array(change, pa.string()),
        "iou": pa.array(iou, mask=(old_row < 0) | (new_row < 0)),
        "old_score": _taken(pa.array(old.scores_N), old_row),
        "new_score": _taken(pa.array(new.scores_N), new_row),
        "old_box": _taken(box_values(old), old_row),
        "new_box": _taken(box_values(new), new_row),
    }
    return pa.table(columns).take(pa.array(np.argsort(image, kind="stable"))).cast(CHANGE_SCHEMA)


def _taken(values: pa.Array, rows: Ints) -> Any:
    """Return the values of these rows, null where the row is -1."""
    return values.take(pa.array(rows, pa.int64(), mask=rows < 0))
