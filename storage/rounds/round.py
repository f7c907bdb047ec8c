"""Rounds of pseudo labels: ROOT/round=0003/ with one table a shard, and `round.json` written last.

In: what a labeling job did. Out: `Round`: its number, its tables, its thresholds by class where it has some
(`thresholds.parquet`), and once it is complete its `RoundInfo`. `begun.json`, with which the folder appears and
which one process writes, says whose round it is: labels of two teachers never lie in one round, and labels of one
job never in two. What a finished round says is never changed, only superseded by the next; one without `round.json`
is visible as incomplete and can be continued. The tables of a compacted round are those that `tables.json` names
(see `storage.rounds.compaction`).
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from typing import Annotated, Any

import msgspec
import numpy as np
import numpy.typing as npt
import pyarrow as pa

from storage import files
from storage.claims import claim_folder
from storage.dataset.dataset import shard_stem
from storage.errors import StoreError
from storage.json_head import Count, HeadFormat, Share
from storage.rounds.round_thresholds import (
    RELABEL,
    THRESHOLDS,
    class_thresholds,
    read_thresholds,
    remove_thresholds,
    write_thresholds,
)
from storage.stored_names import require_below
from storage.tables.label_store import LabelStore

BEGUN_FILE = "begun.json"
ROUND_FILE = "round.json"
COMPACTED_FILE = "tables.json"

_FOLDER = re.compile(r"round=(\d+)")


@dataclass(frozen=True, kw_only=True, slots=True)
class RoundInfo:
    """What `round.json` says of a complete round."""

    number: Annotated[int, msgspec.Meta(ge=0, lt=2**31)]
    dataset_name: str
    dataset_root: str
    dataset_hash: str
    """`Dataset.hash` of the images that were labeled."""
    classes: tuple[str, ...]
    score_threshold: Share
    """Boxes that score higher count as pseudo labels, unless the round has a threshold for their class; the
    tables hold the lower ones too."""
    num_images: Count
    num_boxes: Count
    """All boxes in the tables, whatever their score."""
    num_without_row: Count = 0
    """Images without a row, each with its reason beside the tables (`storage.rounds.without_row`)."""
    accepted_unreadable: tuple[str, ...] = ()
    """Keys of those among them that could not be read, which the user accepted."""
    sha256: Mapping[str, str] = field(default_factory=dict)
    """Of the bytes of each table, by its stem; empty where an earlier version finished the round."""
    seconds: Annotated[float, msgspec.Meta(ge=0)]
    """Wall time of the labeling job."""
    provenance: Mapping[str, Any]
    """Weights and their hash, teacher step, run, split hash, config hash, code version."""
    finished_at: str = field(default_factory=lambda: datetime.now(UTC).isoformat(timespec="milliseconds"))
    """UTC, ISO 8601. The latest round of a data set is the one that finished last."""

    def __post_init__(self) -> None:
        """Check what no type can say, for the reader of `round.json`."""
        try:
            datetime.fromisoformat(self.finished_at)
        except ValueError:
            raise ValueError(f"expected a time in finished_at, got {self.finished_at!r}") from None


@dataclass(frozen=True, kw_only=True, slots=True)
class CompactedTables:
    """What `tables.json` says of a compacted round."""

    tables: Mapping[str, tuple[str, ...]]
    """Stems of the shards in each table, by its stem, a folder's name before it."""
    sha256: Mapping[str, str] = field(default_factory=dict)
    """Of each table's bytes, by its stem; empty where an earlier version compacted."""

    def __post_init__(self) -> None:
        """Check the names, for the reader of `tables.json`."""
        require_below(self.tables, "tables")


@dataclass(frozen=True, kw_only=True, slots=True)
class RoundOrigin:
    """Whose images a round was begun for."""

    dataset: str | None = None
    dataset_hash: str | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class RoundTerms:
    """What of `begun.json` is asked for elsewhere; it is kept whole."""

    provenance: RoundOrigin = field(default_factory=RoundOrigin)
    score_threshold: Share = 0.0


_BEGUN = HeadFormat(
    kind=dict[str, Any],
    fields=RoundTerms,
    what="the terms of a round",
    remedy="delete that file: the same `mixpl label` begins another round",
)
_COMPLETE = HeadFormat(kind=RoundInfo, what="a round", remedy=RELABEL)
COMPACTED = HeadFormat(kind=CompactedTables, what="a compacted round", remedy=RELABEL)


@dataclass(frozen=True, kw_only=True, slots=True)
class Round:
    """One round below a folder of rounds; `info` is None until it is complete."""

    path: str
    number: int
    info: RoundInfo | None
    compacted: Mapping[str, tuple[str, ...]] | None = None
    """Stems of the shards in each compacted table, by its stem, a folder's name before it; None where the round
    has one table a shard."""
    sha256: Mapping[str, str] = field(default_factory=dict)
    """Of the bytes of each table, by its stem, where it is known."""

    @property
    def complete(self) -> bool:
        """Return whether every shard of the round is labeled."""
        return self.info is not None

    def labels(self, *, num_classes: int | None = None) -> LabelStore:
        """Return the label tables, of which an incomplete round has only some.

        Raises StoreError when the round was compacted after it was opened: some of them may be gone.
        """
        if self.compacted is not None:
            stems: Sequence[str] = tuple(self.compacted)
            return LabelStore(self.path, num_classes=num_classes, known_stems=stems, sha256=self.sha256)
        store = LabelStore(self.path, num_classes=num_classes, others=(THRESHOLDS,))
        if not self.complete:
            return store
        stems = store.stems()  # now, not later: a compaction may begin to remove them
        self._require_uncompacted()
        return LabelStore(self.path, num_classes=num_classes, known_stems=stems, sha256=self.sha256)

    def tables(self) -> dict[str, str]:
        """Return the stem of the table that holds each shard's labels, by the shard's stem, where it is there."""
        store = self.labels()
        if self.compacted is None:
            return {stem: stem for stem in store.stems()}
        there = [stem for stem in self.compacted if store.has(stem)]
        return {shard: stem for stem in there for shard in self.compacted[stem]}

    def thresholds(self) -> pa.Table | None:
        """Return the round's thresholds by class (THRESHOLD_SCHEMA); None where all share one."""
        return read_thresholds(self.path)

    def class_thresholds(self) -> npt.NDArray[np.float64]:
        """Return the threshold of each class of a complete round, by class index: its own, or the one of all."""
        assert self.info is not None, "only a complete round has thresholds"
        table = self.thresholds()
        if table is None:
            return np.full(len(self.info.classes), self.info.score_threshold)
        if len(table) != len(self.info.classes):
            raise StoreError(
                f"expected thresholds of {len(self.info.classes)} classes, got {len(table)}: {self.path}; "
                f"{RELABEL}"
            )
        return class_thresholds(table)

    def lost_tables(self, shards: Sequence[str]) -> list[str]:
        """Return the files that a complete round must have and has not.

        `shards` are those of its data set, where it is known; the round itself knows its tables unless an earlier
        version finished it.
        """
        stems = {*map(shard_stem, shards), *self.sha256} if self.compacted is None else {*self.compacted}
        there = set(files.walk_files(self.path))
        self._require_uncompacted()
        return [name for name in (f"{stem}.parquet" for stem in sorted(stems)) if name not in there]

    def write_thresholds(self, table: pa.Table | None) -> None:
        """Keep the thresholds by class of a round that is still incomplete; None takes earlier ones back."""
        self._require_incomplete()
        if table is None:
            remove_thresholds(self.path)
        else:
            write_thresholds(self.path, table)

    def begin(self, terms: Mapping[str, Any]) -> bool:
        """Claim the round for labels made on these terms (JSON); return whether nobody had claimed it."""
        return claim_folder(self.path, BEGUN_FILE, _BEGUN.encode(terms) + b"\n")

    def terms(self) -> dict[str, Any] | None:
        """Return the terms on which the round was begun, or None."""
        return _BEGUN.read(files.join(self.path, BEGUN_FILE))

    def finish(self, info: RoundInfo) -> Round:
        """Declare the round complete. Raises StoreError when it already is."""
        self._require_incomplete()
        assert info.number == self.number, "a round keeps its number"
        _COMPLETE.write(files.join(self.path, ROUND_FILE), asdict(info) | {"complete": True})
        return Round(path=self.path, number=self.number, info=info, sha256=info.sha256)

    def _require_uncompacted(self) -> None:
        if self.compacted is None and self.complete and files.exists(files.join(self.path, COMPACTED_FILE)):
            raise StoreError(
                f"expected one table a shard, got a round that was compacted at this moment: {self.path}; run the "
                "same command again"
            )

    def _require_incomplete(self) -> None:
        if self.complete or files.exists(files.join(self.path, ROUND_FILE)):
            raise StoreError(f"expected an incomplete round, got a finished one: {self.path}; begin the next")


def open_round(path: str) -> Round:
    """Return the round at this path, complete or not; it need not exist yet.

    Raises StoreError when the folder is not named `round=NUMBER` or its `round.json` cannot be read.
    """
    name = path.rstrip("/").rsplit("/", 1)[-1]
    matched = _FOLDER.fullmatch(name)
    if matched is None:
        raise StoreError(f"expected a folder named round=NUMBER, got {name!r}: {path}")
    compacted = COMPACTED.read(files.join(path, COMPACTED_FILE))
    info = _COMPLETE.read(files.join(path, ROUND_FILE))
    tables = compacted or info
    return Round(
        path=path.rstrip("/"),
        number=int(matched[1]),
        info=info,
        compacted=compacted.tables if compacted else None,
        sha256=tables.sha256 if tables else {},
    )


def is_round(path: str) -> bool:
    """Return whether a path is named like a round."""
    return _FOLDER.fullmatch(path.rstrip("/").rsplit("/", 1)[-1]) is not None


def round_path(root: str, number: int) -> str:
    """Return the folder of a round below a folder of rounds."""
    return files.join(root, f"round={number:04d}")


def list_rounds(root: str) -> list[Round]:
    """Return all rounds right below a folder, by number, complete or not."""
    names = [name for name in files.list_folders(root) if _FOLDER.fullmatch(name)]
    return sorted((open_round(files.join(root, name)) for name in names), key=lambda round_: round_.number)
