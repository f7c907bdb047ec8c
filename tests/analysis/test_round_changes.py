"""Two rounds side by side: each pseudo label in one row, and clear errors where they cannot be compared."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from analysis.round_changes import CHANGE_SCHEMA, compare_rounds
from storage.errors import ConfigError
from storage.labels import Labels
from storage.rounds.round import Round, RoundInfo, open_round, round_path
from storage.rounds.round_thresholds import THRESHOLD_SCHEMA
from storage.tables.label_table import label_table

Box = tuple[int, float, tuple[float, float, float, float]]
OLDER: dict[str, list[Box]] = {
    "a": [(0, 0.9, (0, 0, 10, 10)), (0, 0.8, (20, 20, 40, 40)), (1, 0.7, (50, 50, 60, 60))],
    "b": [(1, 0.6, (0, 0, 10, 10)), (1, 0.4, (0, 0, 90, 90))],
    "only": [(0, 0.9, (0, 0, 10, 10))],
}
NEWER: dict[str, list[Box]] = {
    "a": [(0, 0.95, (20, 20, 40, 36)), (0, 0.9, (0, 0, 10, 10)), (0, 0.7, (50, 50, 60, 60))],
    "b": [(1, 0.5, (0, 0, 10, 10))],
}


def finished(root: Path, number: int, boxes: dict[str, list[Box]], **changes: Any) -> Round:
    round_ = open_round(round_path(str(root), number))
    parts = [
        Labels.of_image([box for _, _, box in rows], [row[0] for row in rows], [row[1] for row in rows])
        for rows in boxes.values()
    ]
    keys = sorted(boxes, reverse=number == 2)  # the order of the rows does not matter
    ordered = Labels.concatenate([parts[list(boxes).index(key)] for key in keys])
    table = label_table(keys, list(range(len(keys))), [(99, 99)] * len(keys), ordered)
    round_.labels().write("shard-000000", table, {})
    if "thresholds" in changes:
        rows = [
            {"category": index, "class": "x", "policy": "prior", "score_threshold": value}
            for index, value in enumerate(changes.pop("thresholds"))
        ]
        round_.write_thresholds(pa.Table.from_pylist(rows, schema=THRESHOLD_SCHEMA))
    info = {
        "dataset_name": "unlabeled", "dataset_root": "x", "dataset_hash": "h", "classes": ("disk", "ring"),
        "score_threshold": 0.45, "num_images": len(keys), "num_boxes": 0, "seconds": 1.0, "provenance": {},
    }  # fmt: skip
    return round_.finish(RoundInfo(number=number, **info | changes))  # type: ignore[arg-type]


def test_each_pseudo_label_stayed_moved_appeared_or_vanished(tmp_path: Path) -> None:
    older, newer = finished(tmp_path / "x", 1, OLDER), finished(tmp_path / "y", 1, NEWER)
    changes = compare_rounds(older, newer)
    assert changes.table.schema == CHANGE_SCHEMA
    assert (changes.num_images, changes.only_older, changes.only_newer) == (2, 1, 0)
    found = [
        (row["key"], row["class"], row["change"], round(row["iou"], 2) if row["iou"] else None)
        for row in changes.table.to_pylist()
    ]
    assert found == [
        ("a", "disk", "moved", 0.8),
        ("a", "disk", "stayed", 1.0),
        ("a", "disk", "appeared", None),
        ("a", "ring", "vanished", None),
        ("b", "ring", "stayed", 1.0),
    ]
    *_, total = changes.by_class.to_pylist()
    assert {name: total[name] for name in ("older", "newer", "stayed", "moved", "appeared", "vanished")} == {
        "older": 4, "newer": 4, "stayed": 2, "moved": 1, "appeared": 1, "vanished": 1
    }  # fmt: skip


def test_equal_rounds_have_stayed_and_one_round_is_not_two(tmp_path: Path) -> None:
    older = finished(tmp_path, 1, OLDER)
    with pytest.raises(ConfigError, match="got the same one twice"):
        compare_rounds(older, older)
    changes = compare_rounds(older, finished(tmp_path, 2, OLDER))
    assert set(changes.table["change"].to_pylist()) == {"stayed"}
    assert len(changes.table) == 5


def test_thresholds_by_class_decide_what_is_a_pseudo_label(tmp_path: Path) -> None:
    older = finished(tmp_path, 1, OLDER, thresholds=(0.85, 0.3))
    changes = compare_rounds(older, finished(tmp_path, 2, NEWER))
    assert [row["older"] for row in changes.by_class.to_pylist()] == [1, 3, 4]


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"classes": ("disk", "star")}, "2 and 2, class 1 being 'ring' and 'star'"),
        ({"classes": ("disk", "ring", "tee")}, "2 and 3, 'tee' only in one"),
        ({"dataset_hash": "other"}, "expected rounds over the same images"),
    ],
)
def test_rounds_that_cannot_be_compared_are_refused(
    tmp_path: Path, changes: dict[str, Any], words: str
) -> None:
    older, newer = finished(tmp_path, 1, OLDER), finished(tmp_path, 2, NEWER, **changes)
    with pytest.raises(ConfigError, match=words):
        compare_rounds(older, newer)
    with pytest.raises(ConfigError, match="got an incomplete one"):
        compare_rounds(older, open_round(round_path(str(tmp_path), 3)))
    with pytest.raises(ConfigError, match="IoU of a pair"):
        compare_rounds(older, newer, iou_threshold=0.95)
