"""How good pseudo labels are: precision and recall against the truth, by class, size and score threshold.

In: a connection to the label tables (`storage.database.connect`), or pseudo labels and truth as `Labels` of the
same images. Out: an Arrow table, one row a (class, size, score threshold), and the same as a printed table.
Guaranteed: only images that were labeled and whose truth is known are counted, an image labeled as empty among
them; a pseudo label is correct when it has the class of a truth box that no better-scoring one took, and an
IoU of at least 0.5 with it. One matching serves all thresholds (see `analysis.matching`).
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import numpy.typing as npt
import pyarrow as pa
from rich.table import Table

from analysis.matching import match_labels
from storage.boxes import LARGE_AREA, SMALL_AREA, TINY_AREA, area
from storage.labels import Labels

QUALITY_SCHEMA = pa.schema(
    [
        pa.field("class", pa.string()),
        pa.field("size_bin", pa.string()),
        pa.field("score_threshold", pa.float64()),
        pa.field("truth", pa.int64()),
        pa.field("found", pa.int64()),
        pa.field("pseudo_labels", pa.int64()),
        pa.field("correct", pa.int64()),
        pa.field("precision", pa.float64()),
        pa.field("recall", pa.float64()),
    ]
)
"""`class` and `size_bin` are null for all of them. `truth` and `found` (and recall) go by the size of the truth box,
`pseudo_labels` and `correct` (and precision) by the size of the pseudo label. Null where nothing can be divided."""

SIZE_BINS: dict[str, tuple[float, float]] = {
    "tiny": (0.0, TINY_AREA),
    "small": (0.0, SMALL_AREA),
    "medium": (SMALL_AREA, LARGE_AREA),
    "large": (LARGE_AREA, float("inf")),
}
"""Areas in square pixels, lower bound included; tiny is a part of small."""

SCORE_THRESHOLDS = (0.05, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9)
IOU_THRESHOLD = 0.5
_BOXES_SQL = Path(__file__).parent / "sql" / "pseudo_labels_beside_truth.sql"


def pseudo_label_quality(
    con: duckdb.DuckDBPyConnection,
    *,
    dataset: str | None = None,
    score_thresholds: Sequence[float] = SCORE_THRESHOLDS,
    iou_threshold: float = IOU_THRESHOLD,
) -> pa.Table:
    """Compare the latest complete round of a data set (of all, where none is named) with its truth.

    Returns QUALITY_SCHEMA. A round's own score threshold is not applied here: name it among `score_thresholds`.
    Raises ValueError when no image is both labeled and of known truth.
    """
    boxes = con.execute(_BOXES_SQL.read_text(), {"dataset": dataset}).to_arrow_table()
    if not len(boxes):
        raise ValueError(
            f"expected pseudo labels and truth of the same images of {dataset or 'any data set'}, got none: "
            "label an unlabeled set that was split from a labeled one, and look below the folder that holds both"
        )
    of_truth = boxes["is_truth"].to_numpy()
    names = boxes["class"].to_pandas() if False else boxes["class"].to_pylist()
    return names, of_truth


def quality_of_labels(
    pseudo: Labels,
    truth: Labels,
    *,
    classes: Sequence[str],
    score_thresholds: Sequence[float] = SCORE_THRESHOLDS,
    iou_threshold: float = IOU_THRESHOLD,
    pseudo_areas_N: npt.ArrayLike | None = None,
    truth_areas_M: npt.ArrayLike | None = None,
) -> pa.Table:
    """Compare pseudo labels with the truth of the same images; returns QUALITY_SCHEMA.

    A pseudo label counts at a threshold when its score is strictly greater, as in training.
    """
    ...
