"""Repeat factors of the labeled images, asked of the tables in SQL.

In: a labeled data set and the threshold t. Out: how often each image is drawn an epoch, by key. The rule is
r = max(1, sqrt(t / f)) over the classes of an image (LVIS, arXiv 1908.03195, section 4.3); the query is
`analysis/sql/repeat_factors.sql`.
"""

from __future__ import annotations

from jobs.train_config import ResamplingConfig
from storage.dataset import Dataset


def labeled_repeat_factors(labeled: Dataset, config: ResamplingConfig) -> dict[str, float] | None:
    """Return the repeat factor by key, or None when resampling is off."""
    if config.threshold == 0:
        return None
    raise NotImplementedError
