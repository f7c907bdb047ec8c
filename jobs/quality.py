"""`mixpl quality`: pseudo labels held against the truth that was kept apart.

In: the tables below a folder: the latest round of a data set and its hidden truth. Out: precision and recall by
class and by size at the round's score threshold, printed; with `--out` the same at every threshold as a Parquet
table. A pseudo label is correct when a truth box of its class overlaps it with IoU of at least 0.5.
"""

from __future__ import annotations

from dataclasses import dataclass

import duckdb
import pyarrow as pa

from analysis.quality import Quality, pseudo_label_quality
from jobs.console.print_table import in_percent, print_table
from jobs.console.questions import report_left_out
from storage.database.connect import connect, one_line
from storage.database.workspace import discover
from storage.errors import ConfigError
from storage.tables.label_store import ASK_VERIFY
from storage.tables.parquet import write_parquet


@dataclass(frozen=True, kw_only=True, slots=True)
class QualityConfig:
    """Which labels to judge."""

    root: str = "."
    """Folder that holds the data set and the rounds."""
    dataset: str | None = None
    """Name of the data set; not needed when there is one with rounds and hidden truth."""
    out: str | None = None
    """Parquet file for the figures at every score threshold."""


def quality(config: QualityConfig) -> Quality:
    """Judge the latest round, print the figures and return them."""
    workspace = discover(config.root)
    report_left_out(workspace)
    with connect(workspace) as con:
        try:
            found = pseudo_label_quality(con, dataset=config.dataset)
        except duckdb.Error as error:
            raise ConfigError(
                f"expected readable label tables, got {one_line(error)}; {ASK_VERIFY}"
            ) from None
    print_table(_readable(found.summary()), found.title())
    if config.out is not None:
        write_parquet(config.out, found.table)
    return found


def _readable(summary: pa.Table) -> pa.Table:
    """Return the summary with its shares in percent."""
    for name in ("precision", "recall"):
        index = summary.column_names.index(name)
        summary = summary.set_column(index, f"{name} %", in_percent(summary[name].to_pylist()))
    return summary
