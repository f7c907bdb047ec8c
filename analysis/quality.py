"""How good pseudo labels are: precision and recall against the truth, by class, size and score threshold.

In: a connection to the label tables (`storage.database.connect.connect`), or pseudo labels and truth as `Labels` of
the same images. Out: `Quality`, an Arrow table with one row a (class, size, score threshold), and the rows
of one threshold as a summary. Guaranteed: only images that were labeled and whose truth is known are counted, those
labeled as empty among them; a pseudo label counts where its score is strictly greater than the threshold, and
is correct when it matches a truth box of its class that no better-scoring one took. One matching serves all
thresholds (see `analysis.matching`). Crowd regions are no truth boxes: a label on one counts as wrong.

Shapes: N pseudo labels, M truth boxes, T thresholds, C classes, S sizes.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import duckdb
import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from analysis.matching import match_labels
from analysis.queries import ask
from storage.boxes import LARGE_AREA, SMALL_AREA, TINY_AREA, area
from storage.errors import ConfigError
from storage.labels import Labels
from storage.tables.label_table import table_labels

Counts = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]

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
"""`class` and `size_bin` are null over all. `truth`, `found` and recall (found / truth) go by the size of the
truth box; `pseudo_labels`, `correct` and precision (correct / pseudo_labels) by that of the pseudo
label. Shares in 0 .. 1, null where there is nothing to divide by."""

SIZE_BINS: dict[str, tuple[float, float]] = {
    "tiny": (0.0, TINY_AREA),
    "small": (0.0, SMALL_AREA),
    "medium": (SMALL_AREA, LARGE_AREA),
    "large": (LARGE_AREA, float("inf")),
}
"""Least and (excluded) greatest area in square pixels; tiny is a part of small."""

SCORE_THRESHOLDS = (0.05, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9)


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Quality:
    """Pseudo labels held against the truth."""

    classes: tuple[str, ...]
    num_images: int
    """Images that were labeled and whose truth is known."""
    score_threshold: float
    """The threshold at which the labels are meant to be used; 0 where only those above their class's are here."""
    table: pa.Table
    """QUALITY_SCHEMA, at all thresholds."""
    by_class_thresholds: bool = False
    """Whether only boxes above the threshold of their class were counted."""

    def overall(self) -> dict[str, Any]:
        """Return the row of all classes and sizes at `score_threshold`."""
        return self._rows(pc.is_null(self._at()["class"]), pc.is_null(self._at()["size_bin"]))[0]

    def by_class(self) -> list[dict[str, Any]]:
        """Return a row a class, over all sizes, at `score_threshold`, in the order of the classes."""
        return self._rows(pc.is_valid(self._at()["class"]), pc.is_null(self._at()["size_bin"]))

    def by_size(self) -> list[dict[str, Any]]:
        """Return a row a size bin, over all classes, at `score_threshold`."""
        return self._rows(pc.is_null(self._at()["class"]), pc.is_valid(self._at()["size_bin"]))

    def summary(self) -> pa.Table:
        """Return the figures at `score_threshold` by class, by size and in all; `of` names what a row is of."""
        rows = [*self.by_class(), *self.by_size(), self.overall()]
        names = ["truth", "pseudo_labels", "correct", "precision", "recall"]
        labels = [row["class"] or row["size_bin"] or "all" for row in rows]
        return pa.Table.from_pylist(rows, QUALITY_SCHEMA).select(names).add_column(0, "of", [labels])

    def title(self) -> str:
        """Return how many images the figures are of, and which labels count."""
        above = "the threshold of the class" if self.by_class_thresholds else f"{self.score_threshold:g}"
        return f"Pseudo labels against the truth: {self.num_images:,} images, score above {above}"

    def _at(self) -> pa.Table:
        return self.table.filter(pc.equal(self.table["score_threshold"], self.score_threshold))

    def _rows(self, *conditions: Any) -> list[dict[str, Any]]:
        first, second = conditions
        rows: list[dict[str, Any]] = self._at().filter(pc.and_(first, second)).to_pylist()
        return rows


def pseudo_label_quality(
    con: duckdb.DuckDBPyConnection,
    *,
    dataset: str | None = None,
    score_thresholds: Sequence[float] = SCORE_THRESHOLDS,
    iou_threshold: float = 0.5,
) -> Quality:
    """Compare the latest complete round of a data set (of all, where none is named) with the truth.

    The round's own score threshold is added to `score_thresholds` and is the one of the result; where the round
    has thresholds by class, boxes below them are left out at all thresholds. Raises ConfigError when no image is
    both labeled and of known truth, and when several data sets with different classes or thresholds would be
    mixed.
    """
    table = ask(con, "pseudo_labels_beside_truth", dataset=dataset)
    if not len(table):
        raise ConfigError(
            f"expected a complete round over images of known truth, got none of {dataset or 'any data set'}; "
            "run `mixpl label` on an unlabeled set that `mixpl split` parted from a labeled one"
        )
    classes, score_threshold, thresholds_C = _common_terms(con, table["dataset"].unique().to_pylist())
    truth = table.select(["truth_boxes", "truth_categories", "truth_categories"])
    pseudo = table_labels(table.select(["boxes", "categories", "scores"]))
    by_class = bool((thresholds_C != score_threshold).any())
    quality = quality_of_labels(
        pseudo.above(thresholds_C) if by_class else pseudo,
        table_labels(truth.rename_columns(["boxes", "categories", "scores"])),
        classes=classes,
        score_threshold=0.0 if by_class else score_threshold,
        score_thresholds=score_thresholds,
        iou_threshold=iou_threshold,
    )
    return replace(quality, by_class_thresholds=by_class)


def quality_of_labels(
    pseudo: Labels,
    truth: Labels,
    *,
    classes: Sequence[str],
    score_threshold: float,
    score_thresholds: Sequence[float] = SCORE_THRESHOLDS,
    iou_threshold: float = 0.5,
) -> Quality:
    """Compare pseudo labels with the truth of the same images, in the same order."""
    thresholds_T = np.unique([*score_thresholds, score_threshold])
    matches = match_labels(pseudo, truth, iou_threshold=iou_threshold)
    matched_N = matches.matched()
    found_scores_M = np.full(len(truth.boxes_N4), -np.inf)
    found_scores_M[matches.truth_N[matched_N]] = pseudo.scores_N[matched_N]
    correct_scores_N = np.where(matched_N, pseudo.scores_N, -np.inf)
    of_truth, of_pseudo = (
        partial(_count, thresholds_T, labels=labels, areas_N=_areas(labels), num_classes=len(classes))
        for labels in (truth, pseudo)
    )
    counts = {
        "truth": of_truth(np.full(len(found_scores_M), np.inf)),
        "found": of_truth(found_scores_M),
        "pseudo_labels": of_pseudo(pseudo.scores_N),
        "correct": of_pseudo(correct_scores_N),
    }
    return Quality(
        classes=tuple(classes),
        num_images=len(truth),
        score_threshold=score_threshold,
        table=_table(classes, thresholds_T, counts),
    )


def _common_terms(con: duckdb.DuckDBPyConnection, datasets: Sequence[str]) -> tuple[list[str], float, Floats]:
    """The classes, the score threshold and those of the classes that the rounds of all these data sets share."""
    rounds = [row for row in ask(con, "latest_rounds").to_pylist() if row["dataset"] in datasets]
    terms = [(row["classes"], row["score_threshold"], row["thresholds"]) for row in rounds]
    if any(other != terms[0] for other in terms):
        raise ConfigError(
            "expected rounds of the same classes and score threshold, got different ones of "
            f"{', '.join(datasets)}; name one data set"
        )
    classes, threshold, thresholds = terms[0]
    return classes, threshold, np.array(thresholds, np.float64)


def _areas(labels: Labels) -> Floats:
    return np.asarray(area(labels.boxes_N4.astype(np.float64)))


def _count(
    thresholds_T: Floats, scores_N: npt.NDArray[Any], labels: Labels, areas_N: Floats, num_classes: int
) -> Counts:
    """Boxes that score above each threshold, shape (S + 1, C + 1, T); the first of S and of C is all."""
    num_thresholds = len(thresholds_T)
    passed_N = np.searchsorted(thresholds_T, scores_N, side="left")  # how many thresholds are below the score
    cell_N = labels.categories_N.astype(np.int64) * (num_thresholds + 1) + passed_N
    counts = []
    for low, high in ((0.0, np.inf), *SIZE_BINS.values()):
        inside = cell_N[(areas_N >= low) & (areas_N < high)]
        exactly = np.bincount(inside, minlength=num_classes * (num_thresholds + 1))
        above = exactly.reshape(num_classes, -1)[:, ::-1].cumsum(axis=1)[:, ::-1][:, 1:]
        counts.append(np.concatenate([above.sum(axis=0, keepdims=True), above]))
    return np.stack(counts)


def _table(classes: Sequence[str], thresholds_T: Floats, counts: dict[str, Counts]) -> pa.Table:
    columns: dict[str, list[Any]] = {name: [] for name in QUALITY_SCHEMA.names}
    for size, size_bin in enumerate((None, *SIZE_BINS)):
        for category, name in enumerate((None, *classes)):
            columns["size_bin"] += [size_bin] * len(thresholds_T)
            columns["class"] += [name] * len(thresholds_T)
            columns["score_threshold"] += thresholds_T.tolist()
            for kind, counts_SCT in counts.items():
                columns[kind] += counts_SCT[size, category].tolist()
    columns["precision"] = _shares(columns["correct"], columns["pseudo_labels"])
    columns["recall"] = _shares(columns["found"], columns["truth"])
    return pa.table(columns, schema=QUALITY_SCHEMA)


def _shares(parts: Sequence[int], wholes: Sequence[int]) -> list[float | None]:
    return [part / whole if whole else None for part, whole in zip(parts, wholes, strict=True)]
