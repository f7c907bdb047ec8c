"""The label tables of a round that is being labeled: which are whole, and what they hold.

In: the tables of one shard each, as they are labeled, or as another process or an earlier start wrote them. Out:
the shards that have no whole table yet, and the counts of all. Guaranteed: a table counts as whole only when every
image of its shard has a row, or a reason beside it why it has none (`storage.rounds.without_row`); that it could
not be read is one only where that is accepted.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import pyarrow as pa
import pyarrow.compute as pc

from storage.dataset.dataset import Dataset, shard_stem
from storage.errors import StoreError
from storage.rounds.without_row import WithoutRow, read_without_row, write_without_row
from storage.tables.label_store import LabelStore


@dataclass(frozen=True, kw_only=True, slots=True)
class TableCounts:
    """What a label table holds; a round's counts are the sums over its tables."""

    images: int
    boxes: int
    above: int
    """Boxes that score above the round's one threshold."""
    without_row: int = 0
    """Images of the shard that have a reason in place of a row."""
    accepted: tuple[str, ...] = ()
    """Keys of those among them that could not be read."""

    @classmethod
    def of_table(
        cls, table: pa.Table, *, score_threshold: float, without_row: Mapping[str, WithoutRow] | None = None
    ) -> TableCounts:
        """Count a table that has the column `scores`."""
        # As float64, as SQL compares: the float32 next to 0.6 lies above 0.6, which float32 cannot tell.
        scores = pc.list_flatten(table["scores"]).cast(pa.float64())
        above = pc.sum(pc.greater(scores, score_threshold)).as_py() or 0
        reasons = without_row or {}
        return cls(
            images=len(table),
            boxes=len(scores),
            above=above,
            without_row=len(reasons),
            accepted=tuple(key for key, image in reasons.items() if not image.lasting),
        )


class RoundTables:
    """The label tables of a round of one data set, and the counts of those that were written or looked into."""

    def __init__(
        self, store: LabelStore, dataset: Dataset, *, score_threshold: float, accept_unreadable: bool = False
    ) -> None:
        self.store, self._dataset = store, dataset
        self._score_threshold = score_threshold
        self.accept_unreadable = accept_unreadable
        """Whether a table may lack images that could not be read."""
        self._counts: dict[str, TableCounts] = {}
        self.sha256: dict[str, str] = {}
        """Of the tables that were written or found whole, by their stems."""

    def write(
        self,
        shard: str,
        table: pa.Table,
        without_row: Mapping[str, WithoutRow],
        provenance: Mapping[str, object],
    ) -> None:
        """Write the table of a shard, with the reasons of the images that it lacks, and keep its counts."""
        assert self._is_whole(shard, table, without_row), "each image has a row or a reason"
        stem = shard_stem(shard)
        write_without_row(self.store.root, stem, without_row)
        self._count(shard, table, without_row, self.store.write(stem, table, provenance))

    def missing(self, shards: Sequence[str]) -> list[str]:
        """Return the shards that have no table yet."""
        return [
            shard for shard in shards if shard not in self._counts and not self.store.has(shard_stem(shard))
        ]

    def unfinished(self, shards: Sequence[str]) -> list[str]:
        """Return the shards that have no whole table yet; tables of others are looked into, once."""
        missing = {*self.missing(shards)}
        return [shard for shard in shards if shard in missing or not self._look_into(shard)]

    def total(self) -> TableCounts:
        """Return the sum over all tables that were written or found whole."""
        counts = self._counts.values()
        return TableCounts(
            images=sum(count.images for count in counts),
            boxes=sum(count.boxes for count in counts),
            above=sum(count.above for count in counts),
            without_row=sum(count.without_row for count in counts),
            accepted=tuple(key for count in counts for key in count.accepted),
        )

    def _look_into(self, shard: str) -> bool:
        """Return whether the table of a shard is whole; it is counted then."""
        if shard in self._counts:
            return True
        stem = shard_stem(shard)
        try:
            table = self.store.read(stem, columns=["key", "scores"])
            without_row = read_without_row(self.store.root, stem)
        except StoreError:  # damaged: labeled again
            return False
        whole = self._is_whole(shard, table, without_row)
        if whole:
            self._count(shard, table, without_row, self.store.checksum(stem))
        return whole

    def _is_whole(self, shard: str, table: pa.Table, without_row: Mapping[str, WithoutRow]) -> bool:
        if not self.accept_unreadable and any(not image.lasting for image in without_row.values()):
            return False
        keys = [*table["key"].to_pylist(), *without_row]
        return sorted(keys) == sorted(self._dataset.keys_of(shard))

    def _count(self, shard: str, table: pa.Table, without_row: Mapping[str, WithoutRow], sha256: str) -> None:
        self.sha256[shard_stem(shard)] = sha256
        self._counts[shard] = TableCounts.of_table(
            table, score_threshold=self._score_threshold, without_row=without_row
        )
