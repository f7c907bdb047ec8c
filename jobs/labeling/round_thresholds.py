"""Thresholds of a round by a policy: computed from its tables before it is declared complete.

In: a round whose shards are all labeled, a policy, and for the prior the labeled data. Out: the round's
`thresholds.parquet`, and what it says on the screen.
"""

from __future__ import annotations

import pyarrow as pa

from analysis.thresholds import ThresholdPolicy, round_thresholds
from jobs.console.print_table import print_table
from storage.database.connect import connect
from storage.database.workspace import Workspace
from storage.dataset.dataset import Dataset
from storage.errors import ConfigError
from storage.rounds.round import Round


def write_class_thresholds(
    round_: Round,
    policy: ThresholdPolicy,
    *,
    classes: tuple[str, ...],
    score_threshold: float,
    labeled: Dataset | None,
) -> pa.Table | None:
    """Compute, write, print and return the thresholds by class of a round that is not complete yet.

    The fixed policy has no table: None, and what a stopped job with another policy left is removed.
    """
    if policy == "fixed":
        round_.write_thresholds(None)
        return None
    datasets = () if labeled is None else (labeled,)
    with connect(Workspace(datasets=datasets, rounds=(round_,))) as con:
        table = round_thresholds(
            con, policy, number=round_.number, classes=classes, score_threshold=score_threshold
        )
    round_.write_thresholds(table)
    print_table(table.drop_columns(["category"]))
    return table


def require_same_thresholds(round_: Round, *, policy: ThresholdPolicy, score_threshold: float) -> None:
    """Raise ConfigError when a complete round was given other thresholds: it is never changed."""
    assert round_.info is not None
    table = round_.thresholds()
    stored = "fixed" if table is None else str(table["policy"][0].as_py())
    if (stored, round_.info.score_threshold) != (policy, score_threshold):
        raise ConfigError(
            f"expected the thresholds of the complete round {round_.path}, {stored} with "
            f"{round_.info.score_threshold:g}, got {policy} with {score_threshold:g}; a complete round is never "
            "changed: write another with --out"
        )
