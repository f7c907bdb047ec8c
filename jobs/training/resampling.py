"""Repeat factors of the labeled images, asked of the tables in SQL.

In: a labeled data set, the threshold t, and where pseudo labels are to count too, a folder of their rounds. Out:
how often each labeled image is drawn an epoch, by key, and what that does to the classes. The rule is
r = max(1, sqrt(t / f)) over the classes of an image (LVIS, arXiv 1908.03195, section 4.3); the query is
`analysis/sql/repeat_factors.sql`. Asked again while training, it follows rounds that are written meanwhile.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pyarrow.compute as pc

from analysis.frequencies import factors_by_key, repeat_factors
from storage.database.connect import connect
from storage.database.workspace import Workspace
from storage.dataset.dataset import Dataset
from storage.rounds.round import list_rounds
from storage.tables.label_table import table_labels


def labeled_repeat_factors(
    labeled: Dataset, *, threshold: float, unlabeled: Dataset | None = None, rounds: str | None = None
) -> dict[str, float] | None:
    """Return the repeat factor by key, or None when the threshold is 0: resampling is off.

    With `rounds`, the pseudo labels of the latest round of `unlabeled` in that folder count like true labels; a
    folder without a complete round counts as none.
    """
    if threshold == 0:
        return None
    workspace = Workspace(datasets=(labeled,))
    if rounds is not None and unlabeled is not None:
        workspace = Workspace(datasets=(labeled, unlabeled), rounds=tuple(list_rounds(rounds)))
    names = workspace.dataset_names()
    with connect(workspace) as con:
        table = repeat_factors(
            con,
            threshold=threshold,
            datasets=[names[labeled.root]],
            pseudo_datasets=[names[dataset.root] for dataset in workspace.datasets[1:]],
        )
    mine = table.filter(pc.equal(table["dataset"], names[labeled.root]))
    return factors_by_key(mine)


def describe_repeats(labeled: Dataset, factors: Mapping[str, float] | None) -> str | None:
    """Return what the factors do to the images and to the boxes of each class; None when resampling is off."""
    if factors is None:
        return None
    table = labeled.ground_truth().read_all()
    labels = table_labels(table)
    factor_B = np.array([factors.get(key, 1.0) for key in table["key"].to_pylist()])
    factor_N = np.repeat(factor_B, labels.counts())
    before_C = np.bincount(labels.categories_N, minlength=len(labeled.classes))
    after_C = np.bincount(labels.categories_N, factor_N, minlength=len(labeled.classes))
    classes = ", ".join(
        f"{name} {before} -> {after:.0f}"
        for name, before, after in zip(labeled.classes, before_C, after_C, strict=True)
    )
    return (
        f"resampling: {int((factor_B > 1).sum())} of {len(factor_B)} labeled images are repeated, at most "
        f"{factor_B.max(initial=1.0):.2f} times; boxes an epoch: {classes}"
    )
