"""Pseudo labels held against the truth and against the round before, as tables that SQL reads.

In: a connection to the label tables (`storage.database.connect.connect`), the workspace behind it, the text of a
query. Out: those of the tables below that the query names, computed once and registered with the connection.
Guaranteed: the pairs are those of `analysis.matching` at IoU 0.5; where there is no truth, no round or no second
round, the table is there and empty.

judged_boxes    a box of any score of a data set's latest complete round, in an image whose truth is known
judged_truth    a true box of these images, crowd regions not among them
round_changes   a pseudo label of a data set's last two complete rounds (`analysis.round_changes`)

Shapes: B images, N boxes of the round, M truth boxes.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

import duckdb
import numpy as np
import pyarrow as pa

from analysis.matching import match_labels
from analysis.queries import ask
from analysis.round_changes import CHANGE_SCHEMA, compare_rounds
from storage.boxes import LARGE_AREA, SMALL_AREA, TINY_AREA, area
from storage.database.workspace import Workspace, age
from storage.errors import InputError
from storage.labels import Labels
from storage.rounds.round import Round
from storage.tables.label_table import table_labels

_BOX_OF_IMAGE = [
    ("dataset", pa.string()), ("key", pa.string()), ("class", pa.string()), ("category", pa.int32()),
    ("area", pa.float64()), ("size_bin", pa.string()), ("tiny", pa.bool_()),
]  # fmt: skip
JUDGED_SCHEMA = pa.schema([
    *_BOX_OF_IMAGE, ("score", pa.float32()), ("score_threshold", pa.float64()), ("correct", pa.bool_()),
    ("iou", pa.float64()),
])  # fmt: skip
"""`correct`: it matches a true box of its class that no better scored one took; `iou` with that box, or null."""
TRUTH_SCHEMA = pa.schema([*_BOX_OF_IMAGE, ("found_score", pa.float32())])
"""`found_score` is the score of the box that found it; null where none did."""
CHANGES_SCHEMA = pa.schema([
    ("dataset", pa.string()), ("older", pa.int32()), ("newer", pa.int32()), *CHANGE_SCHEMA,
])  # fmt: skip
"""`older` and `newer` are the numbers of the two rounds."""


def add_judged_tables(con: duckdb.DuckDBPyConnection, workspace: Workspace, query: str) -> None:
    """Register the tables that a query names."""
    words = set(re.findall(r"\w+", query.lower()))
    if {"judged_boxes", "judged_truth"} & words:
        boxes, truth = judge(con)
        con.register("judged_boxes", boxes)
        con.register("judged_truth", truth)
    if "round_changes" in words:
        con.register("round_changes", changes_of_last_rounds(workspace))


def judge(con: duckdb.DuckDBPyConnection, *, iou_threshold: float = 0.5) -> tuple[pa.Table, pa.Table]:
    """Return the latest rounds' boxes (JUDGED_SCHEMA) and the true boxes of their images (TRUTH_SCHEMA)."""
    boxes, truth = [JUDGED_SCHEMA.empty_table()], [TRUTH_SCHEMA.empty_table()]
    for terms in ask(con, "latest_rounds").to_pylist():
        images = ask(con, "pseudo_labels_beside_truth", dataset=terms["dataset"])
        for mine, table in zip((boxes, truth), _judge_images(images, terms, iou_threshold), strict=True):
            mine.append(table)
    return pa.concat_tables(boxes), pa.concat_tables(truth)


def changes_of_last_rounds(workspace: Workspace) -> pa.Table:
    """Return what changed from the last but one to the last complete round of each data set (CHANGES_SCHEMA).

    Rounds that cannot be compared, as of other classes, change nothing.
    """
    by_dataset: dict[str, list[Round]] = {}
    for round_ in workspace.rounds:
        if round_.info is not None:
            by_dataset.setdefault(round_.info.dataset_hash, []).append(round_)
    names = {dataset.hash: workspace.dataset_names()[dataset.root] for dataset in workspace.datasets}
    tables = [CHANGES_SCHEMA.empty_table()]
    for dataset_hash, rounds in by_dataset.items():
        *_, older, newer = [None, *sorted(rounds, key=age)]
        assert newer is not None
        assert newer.info is not None
        if older is None:
            continue
        try:
            changes = compare_rounds(older, newer).table
        except InputError:
            continue
        name = names.get(dataset_hash, newer.info.dataset_name)
        tables.append(_with_constants(changes, dataset=name, older=older.number, newer=newer.number))
    return pa.concat_tables(tables)


def _judge_images(images: pa.Table, terms: dict[str, Any], iou_threshold: float) -> tuple[pa.Table, pa.Table]:
    names = ["boxes", "categories", "scores"]
    pseudo = table_labels(images.select(names))
    truth_columns = images.select(["truth_boxes", "truth_categories", "truth_categories"])
    truth = table_labels(truth_columns.rename_columns(names))
    matches = match_labels(pseudo, truth, iou_threshold=iou_threshold)
    matched_N = matches.matched()
    found_scores_M = np.full(len(truth.boxes_N4), np.nan, np.float32)
    found_scores_M[matches.truth_N[matched_N]] = pseudo.scores_N[matched_N]
    thresholds_C = np.array(terms["thresholds"], np.float64)
    boxes = _box_columns(images, pseudo, terms["classes"]) | {
        "score": pa.array(pseudo.scores_N, pa.float32()),
        "score_threshold": pa.array(thresholds_C[pseudo.categories_N], pa.float64()),
        "correct": pa.array(matched_N),
        "iou": pa.array(matches.iou_N, mask=~matched_N),
    }
    true_boxes = _box_columns(images, truth, terms["classes"]) | {
        "found_score": pa.array(found_scores_M, pa.float32(), mask=np.isnan(found_scores_M))
    }
    return pa.table(boxes, schema=JUDGED_SCHEMA), pa.table(true_boxes, schema=TRUTH_SCHEMA)


def _box_columns(images: pa.Table, labels: Labels, classes: Sequence[str]) -> dict[str, Any]:
    """Return the columns that boxes of both kinds have."""
    areas_N = np.asarray(area(labels.boxes_N4.astype(np.float64)))
    rows_N = pa.array(labels.image_rows())
    sizes_N = np.digitize(areas_N, [SMALL_AREA, LARGE_AREA])
    return {
        "dataset": images["dataset"].combine_chunks().take(rows_N),
        "key": images["key"].combine_chunks().take(rows_N),
        "class": pa.array(classes, pa.string()).take(pa.array(labels.categories_N)),
        "category": pa.array(labels.categories_N, pa.int32()),
        "area": pa.array(areas_N),
        "size_bin": pa.array(["small", "medium", "large"]).take(pa.array(sizes_N)),
        "tiny": pa.array(areas_N < TINY_AREA),
    }


def _with_constants(table: pa.Table, **values: str | int) -> pa.Table:
    for index, (name, value) in enumerate(values.items()):
        table = table.add_column(
            index,
            CHANGES_SCHEMA.field(name),
            pa.repeat(value, len(table)).cast(CHANGES_SCHEMA.field(name).type),
        )
    return table
