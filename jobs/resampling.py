"""Repeat factors of the labeled images, asked of the tables in SQL.

In: a labeled data set and the threshold t. Out: how often each image is drawn an epoch, by key. The rule is
r = max(1, sqrt(t / f)) over the classes of an image (LVIS, arXiv 1908.03195, section 4.3); the query is
`analysis/sql/repeat_factors.sql`.
"""

from __future__ import annotations

from analysis.frequencies import repeat_factors
from storage.database import connect
from storage.dataset import Dataset


def labeled_repeat_factors(labeled: Dataset, *, threshold: float) -> dict[str, float] | None:
    """Return the repeat factor by key, or None when the threshold is 0: resampling is off."""
    if threshold == 0:
        return None
    with connect(labeled.root) as con:
        table = repeat_factors(con, threshold=threshold)
    return dict(zip(table["key"].to_pylist(), table["repeat_factor"].to_pylist(), strict=True))


def describe_repeats(factors: dict[str, float] | None) -> str | None:
    """Return a line that says how many images are repeated, or None when resampling is off."""
    if factors is None:
        return None
    repeated = [factor for factor in factors.values() if factor > 1]
    largest = max(factors.values(), default=1.0)
    drawn = sum(factors.values()) / max(1, len(factors))
    return (
        f"resampling: {len(repeated)} of {len(factors)} labeled images are repeated, at most {largest:.2f} times; "
        f"an epoch draws {drawn:.2f} times as many"
    )
