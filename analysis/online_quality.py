"""What a teacher's labels are worth while it still trains: precision by class of those it wrote last.

In: a connection to the label tables that sees one run and the data set that it labels. Out: a value a class, empty
where the truth of no labeled image is known. Guaranteed: the pairs are those of `analysis.matching`.
"""

from __future__ import annotations

from dataclasses import dataclass

import duckdb
import numpy as np

from analysis.matching import match_labels
from analysis.queries import ask
from storage.tables.label_table import table_labels


@dataclass(frozen=True, kw_only=True, slots=True)
class ClassPrecision:
    """Pseudo labels of one class."""

    name: str
    pseudo_labels: int
    """Those above the threshold."""
    correct: int
    """Those of them that match a true box of the class."""


def online_precision(
    con: duckdb.DuckDBPyConnection, *, score_threshold: float, files: int = 20
) -> list[ClassPrecision]:
    """Return the precision of every class over the last `files` steps that wrote labels."""
    images = ask(con, "online_labels_beside_truth", files=files)
    if not len(images):
        return []
    names = ["boxes", "categories", "scores"]
    pseudo = table_labels(images.select(names)).above(score_threshold)
    truth = images.select(["truth_boxes", "truth_categories", "truth_categories"])
    matched_N = match_labels(pseudo, table_labels(truth.rename_columns(names))).matched()
    classes = con.execute(
        "SELECT category, class FROM categories WHERE dataset = $dataset ORDER BY category",
        {"dataset": images["dataset"][0].as_py()},
    ).fetchall()
    counts_C = np.bincount(pseudo.categories_N, minlength=len(classes))
    correct_C = np.bincount(pseudo.categories_N[matched_N], minlength=len(classes))
    return [
        ClassPrecision(name=name, pseudo_labels=int(counts_C[category]), correct=int(correct_C[category]))
        for category, name in classes
    ]
