"""Score thresholds by class: above which score a box becomes a pseudo label.

In: a round of labels and, for one policy, the labeled data (a connection of `storage.database.connect`); or the
scores at hand (`Labels`), as while training. Out: a table of `storage.rounds.round_thresholds.THRESHOLD_SCHEMA`, or
an array by class. The policies:

- fixed: the same for all classes;
- prior: as many boxes of the class an image as in the labeled data (after LabelMatch, CVPR 2022);
- mixture: where the upper of two Gaussians over the class's scores becomes the likelier one (as Consistent-Teacher,
  CVPR 2023, has it).

Guaranteed: a class that its policy cannot serve has the fixed threshold and says why; none lies below `FLOOR`, so
that a class the teacher hardly knows is not filled up with noise. Both ways to the prior agree exactly; the mixture
of a table is that of its scores in bins of 0.001.

Shapes: N boxes, C classes.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

import duckdb
import numpy as np
import numpy.typing as npt
import pyarrow as pa

from analysis.mixtures import MIN_BOXES, Mixture, fit_two_gaussians
from analysis.queries import ask
from storage.errors import ConfigError
from storage.labels import Labels
from storage.rounds.round_thresholds import THRESHOLD_SCHEMA

ThresholdPolicy = Literal["fixed", "prior", "mixture"]
Floats = npt.NDArray[np.float64]

FLOOR = 0.1
BINS = 1000

NO_BOX = "no box of the class"
NOT_PARTED = f"fewer than {MIN_BOXES} boxes, or scores that do not part in two"
AT_FLOOR = f"the policy's own lies below {FLOOR:g}"


def round_thresholds(
    con: duckdb.DuckDBPyConnection,
    policy: ThresholdPolicy,
    *,
    number: int,
    classes: Sequence[str],
    score_threshold: float,
) -> pa.Table:
    """Return the thresholds of round `number` (THRESHOLD_SCHEMA), which may still be incomplete.

    `con` sees one round of that number, and for the prior the labeled data and no other truth. Raises ConfigError
    when the prior is asked for and no image is labeled.
    """
    match policy:
        case "fixed":
            terms: dict[int, dict[str, Any]] = {
                category: {"score_threshold": score_threshold} for category in range(len(classes))
            }
        case "prior":
            terms = _by_prior(con, number, classes, score_threshold)
        case "mixture":
            terms = _by_mixture(con, number, classes, score_threshold)
    thresholds = [terms[category]["score_threshold"] for category in range(len(classes))]
    counts = ask(con, "boxes_above_thresholds", round=number, thresholds=thresholds).to_pylist()
    counted = {row["category"]: row for row in counts}
    none = {"boxes": 0, "pseudo_labels": 0}
    rows = [
        {
            "category": category,
            "class": name,
            "policy": policy,
            **counted.get(category, none),
            **terms[category],
        }
        for category, name in enumerate(classes)
    ]
    return pa.Table.from_pylist(rows, schema=THRESHOLD_SCHEMA)


def prior_thresholds(labels: Labels, rates_C: npt.ArrayLike, *, score_threshold: float) -> Floats:
    """Return the threshold of each class by the prior, from scores at hand, shape (C,).

    `rates_C` holds the true boxes of each class an image of the labeled data.
    """
    rates = np.asarray(rates_C, np.float64)
    thresholds_C = np.full(len(rates), score_threshold)
    for category, rate in enumerate(rates):
        scores = np.sort(labels.scores_N[labels.categories_N == category])[::-1].astype(np.float64)
        expected = _rounded(rate * len(labels))
        score = scores[expected] if expected < len(scores) else None
        thresholds_C[category] = _bounded(score, len(scores), score_threshold)[0]
    return thresholds_C


def mixture_thresholds(labels: Labels, num_classes: int, *, score_threshold: float) -> Floats:
    """Return the threshold of each class by the mixture, from scores at hand, shape (C,)."""
    scores_by_class = (labels.scores_N[labels.categories_N == category] for category in range(num_classes))
    return np.array(
        [
            _of_mixture(fit_two_gaussians(scores) if len(scores) else None, score_threshold)[0]
            for scores in scores_by_class
        ]
    )


def _by_prior(
    con: duckdb.DuckDBPyConnection, number: int, classes: Sequence[str], score_threshold: float
) -> dict[int, dict[str, Any]]:
    rows = ask(con, "scores_by_prior", round=number, classes=list(classes)).to_pylist()
    terms = {}
    for row in rows:
        rate = row["labeled_rate"]
        if rate is None:
            raise ConfigError(
                "expected labeled images to take the prior from, got none; name a labeled data set"
            )
        threshold, reason = _bounded(row["score"], row["boxes"], score_threshold)
        terms[row["category"]] = {"score_threshold": threshold, "labeled_rate": rate, "reason": reason}
    return terms


def _by_mixture(
    con: duckdb.DuckDBPyConnection, number: int, classes: Sequence[str], score_threshold: float
) -> dict[int, dict[str, Any]]:
    histogram = ask(con, "score_histogram", round=number, bins=BINS)
    category_N, scores_N, counts_N = (column.to_numpy() for column in histogram.columns)
    terms = {}
    for category in range(len(classes)):
        mine = category_N == category
        mixture = fit_two_gaussians(scores_N[mine], counts_N[mine]) if mine.any() else None
        threshold, reason = _of_mixture(mixture, score_threshold)
        terms[category] = {"score_threshold": threshold, "reason": reason}
    return terms


def _bounded(score: float | None, boxes: int, fixed: float) -> tuple[float, str | None]:
    """Threshold by the prior, and why it is not the policy's own: `score` is None where every box is wanted."""
    if not boxes:
        return fixed, NO_BOX
    if score is None or score < FLOOR:
        return FLOOR, AT_FLOOR
    return float(score), None


def _of_mixture(mixture: Mixture | None, fixed: float) -> tuple[float, str | None]:
    if mixture is None:
        return fixed, NOT_PARTED
    threshold = mixture.threshold()
    return (threshold, None) if threshold >= FLOOR else (FLOOR, AT_FLOOR)


def _rounded(value: float) -> int:
    """Round half away from zero, as SQL does."""
    return int(np.floor(value + 0.5))
