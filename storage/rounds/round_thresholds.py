"""Score thresholds by class of one round: `ROUND/thresholds.parquet`, one row a class.

In: a table of THRESHOLD_SCHEMA, as `analysis.thresholds` computes it. Out: the same, checked. A round without
this file has one threshold for all classes, that of its `round.json`. Guaranteed: written completely or not at
all, and before the round is complete; the view `pseudo_labels` follows it, the view `thresholds` shows it.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from storage import files
from storage.errors import StoreError
from storage.json_head import require_version
from storage.tables.parquet import UNREADABLE, read_parquet, reason, with_schema, write_parquet

SCHEMA_VERSION = 1
RELABEL = "delete round.json (of a compacted round the whole folder) and run the same `mixpl label` again"
"""What to do about a file of a complete round that is damaged."""
THRESHOLDS = "thresholds"
"""Stem of the file, beside the label tables."""

THRESHOLD_SCHEMA = pa.schema(
    [
        pa.field("category", pa.int32()),
        pa.field("class", pa.string()),
        pa.field("policy", pa.string()),
        pa.field("score_threshold", pa.float64()),
        pa.field("boxes", pa.int64()),
        pa.field("pseudo_labels", pa.int64()),
        pa.field("labeled_rate", pa.float64()),
        pa.field("reason", pa.string()),
    ]
)
"""One row a class, in the order of the class indices: boxes of any score, boxes above the threshold, true
boxes an image of the labeled data (null where the policy does not ask), and why the class has the threshold
of the fixed policy instead (null where it has its own)."""


def write_thresholds(folder: str, table: pa.Table) -> None:
    """Write the thresholds of the round in `folder`. Raises StoreError naming the class of a bad one."""
    location = _location(folder)
    ordered = table.select(THRESHOLD_SCHEMA.names).cast(THRESHOLD_SCHEMA)
    _check(ordered, location)
    metadata = {"mixpl_thresholds": str(SCHEMA_VERSION)}
    write_parquet(location, ordered.replace_schema_metadata(metadata), compression="zstd")


def read_thresholds(folder: str) -> pa.Table | None:
    """Return the thresholds of the round in `folder`, or None where it has no such file.

    Raises StoreError naming the file when it is damaged or of another schema version.
    """
    location = _location(folder)
    try:
        table = read_parquet(location)
    except (FileNotFoundError, NotADirectoryError):
        return None
    except UNREADABLE as error:
        raise StoreError(
            f"expected a Parquet table of thresholds, got {reason(error)}: {location}; {RELABEL}"
        ) from error
    stored = (table.schema.metadata or {}).get(b"mixpl_thresholds", b"")
    version = int(stored) if stored.isdigit() else None
    require_version(version, SCHEMA_VERSION, what="thresholds", where=location, remedy=RELABEL)
    table = with_schema(
        table.replace_schema_metadata(None),
        THRESHOLD_SCHEMA,
        where=location,
        remedy=RELABEL,
        nullable=("policy", "boxes", "pseudo_labels", "labeled_rate", "reason"),
    )
    _check(table, location)
    return table


def remove_thresholds(folder: str) -> None:
    """Remove the thresholds of the round in `folder`, if there are any."""
    files.remove_file(_location(folder))


def class_thresholds(table: pa.Table) -> npt.NDArray[np.float64]:
    """Return the score threshold of each class, by class index, in memory that may be written."""
    return np.array(table["score_threshold"].to_numpy())


def _check(table: pa.Table, where: str) -> None:
    if table["category"].to_pylist() != list(range(len(table))):
        raise StoreError(
            f"expected one row a class in the order of the classes, got others: {where}; {RELABEL}"
        )
    for name, threshold in zip(table["class"].to_pylist(), table["score_threshold"].to_pylist(), strict=True):
        if threshold is None or not 0 <= threshold <= 1:
            raise StoreError(
                f"expected thresholds within 0..1, got {threshold} of class {name!r}: {where}; {RELABEL}"
            )


def _location(folder: str) -> str:
    return files.join(folder, f"{THRESHOLDS}.parquet")
