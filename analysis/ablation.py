"""What an ablation says: mean and spread over seeds, and paired differences with a confidence interval.

In: a table with the columns cell, seed, class, metric, value, as `mixpl ablate` writes it. Out: a row a cell.
Guaranteed: a difference is taken within a seed (what the runs of a seed share cancels), over the seeds that both
cells have; its interval is that of Student's t over these differences, and there is none for fewer than two.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
from scipy.special import stdtrit

CONFIDENCE = 0.95

SUMMARY_SCHEMA = pa.schema([
    ("cell", pa.string()), ("metric", pa.string()), ("reference", pa.string()), ("runs", pa.int64()),
    ("mean", pa.float64()),
    ("deviation", pa.float64()), ("pairs", pa.int64()), ("difference", pa.float64()), ("low", pa.float64()),
    ("high", pa.float64()),
])  # fmt: skip
"""`deviation`: standard deviation over the seeds (n - 1). `difference`: mean of value - value of the `reference`
cell with the same seed over `pairs` seeds; `low` to `high` is its interval. Null where there are too few runs."""


def summarise(
    results: pa.Table,
    *,
    references: Mapping[str, str],
    metrics: Sequence[str],
    confidence: float = CONFIDENCE,
) -> pa.Table:
    """Return SUMMARY_SCHEMA, metric by metric; `references` names for every cell the one it is compared with."""
    whole = results.filter(pc.is_null(results["class"]))
    rows = []
    for metric in metrics:
        of_metric = whole.filter(pc.equal(whole["metric"], metric)).to_pylist()
        values = {
            cell: {
                row["seed"]: row["value"]
                for row in of_metric
                if row["cell"] == cell and row["value"] is not None
            }
            for cell in references
        }
        for cell, reference in references.items():
            mean, deviation = _mean_and_deviation(np.array(list(values[cell].values()), np.float64))
            row = {
                "cell": cell,
                "metric": metric,
                "reference": reference,
                "runs": len(values[cell]),
                "mean": mean,
                "deviation": deviation,
            }
            if cell != reference:
                shared = [seed for seed in values[cell] if seed in values[reference]]
                paired = np.array(
                    [values[cell][seed] - values[reference][seed] for seed in shared], np.float64
                )
                row |= _difference(paired, confidence)
            rows.append(row)
    return pa.Table.from_pylist(rows, schema=SUMMARY_SCHEMA)


def _difference(differences_N: npt.NDArray[np.float64], confidence: float) -> dict[str, float | int | None]:
    mean, deviation = _mean_and_deviation(differences_N)
    row: dict[str, float | int | None] = {"pairs": len(differences_N), "difference": mean}
    if mean is None or deviation is None:
        return row
    num = len(differences_N)
    half = float(stdtrit(num - 1, (1 + confidence) / 2)) * deviation / num**0.5
    return row | {"low": mean - half, "high": mean + half}


def _mean_and_deviation(values_N: npt.NDArray[np.float64]) -> tuple[float | None, float | None]:
    if not len(values_N):
        return None, None
    return float(values_N.mean()), float(values_N.std(ddof=1)) if len(values_N) > 1 else None
