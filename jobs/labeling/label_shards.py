"""The shards of a round that one process labels: predicted, written, counted.

In: a trained detector, a data set, the shards of this process and the round's label store. Out: one table a
shard, complete or not there, and `TableCounts` of each. Guarantees: a shard that has its table is skipped; after
Ctrl-C the shard at hand is still written; an image that cannot be read has no row and is named.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from jobs.console.progress import Progress
from jobs.inference.predictions import PredictSettings, name_skipped, predict
from jobs.inference.trained import TrainedDetector
from jobs.run.interrupt import Interrupt
from pipeline.loaders.predict_loader import SkippedImage
from storage.dataset.dataset import Dataset, shard_stem
from storage.tables.label_store import LabelStore


@dataclass(frozen=True, kw_only=True, slots=True)
class TableCounts:
    """What a label table holds; a round's counts are the sums over its tables."""

    images: int
    boxes: int
    above: int
    """Boxes that score above the round's one threshold."""

    @classmethod
    def of_table(cls, table: pa.Table, *, score_threshold: float) -> TableCounts:
        """Count a table that has the column `scores`."""
        # As float64, as SQL compares: the float32 next to 0.6 lies above 0.6, which float32 cannot tell.
        scores = pc.list_flatten(table["scores"]).cast(pa.float64())
        above = pc.sum(pc.greater(scores, score_threshold)).as_py() or 0
        return cls(images=len(table), boxes=len(scores), above=above)


class CountedStore:
    """The label tables of a round, and the counts of those that this process wrote."""

    def __init__(self, store: LabelStore, *, score_threshold: float) -> None:
        self.store = store
        self._score_threshold = score_threshold
        self._counts: dict[str, TableCounts] = {}

    def write(self, stem: str, table: pa.Table, provenance: Mapping[str, object]) -> None:
        """Write a table and keep its counts."""
        self.store.write(stem, table, provenance)
        self._counts[stem] = TableCounts.of_table(table, score_threshold=self._score_threshold)

    def missing(self, shards: Sequence[str]) -> list[str]:
        """Return the shards that have no complete table yet."""
        return [shard for shard in shards if not self.store.has(shard_stem(shard))]

    def total(self) -> TableCounts:
        """Return the counts of all tables; only those of another process or an earlier start are read back."""
        for stem in self.store.stems():
            if stem not in self._counts:
                table = self.store.read(stem, columns=["scores"])
                self._counts[stem] = TableCounts.of_table(table, score_threshold=self._score_threshold)
        counts = self._counts.values()
        return TableCounts(
            images=sum(count.images for count in counts),
            boxes=sum(count.boxes for count in counts),
            above=sum(count.above for count in counts),
        )


def label_shards(
    trained: TrainedDetector,
    dataset: Dataset,
    shards: Sequence[str],
    store: CountedStore,
    settings: PredictSettings,
    provenance: dict[str, Any],
) -> bool:
    """Label the shards that have no table yet; return whether all of them are done, False when interrupted."""
    left = store.missing(shards)
    skipped: list[SkippedImage] = []
    done = len(shards) - len(left)
    with Progress("label", total=len(shards), start=done, unit="shards") as progress, Interrupt() as stop:
        for shard, tables in _tables(trained, dataset, left, settings, skipped):
            store.write(shard_stem(shard), pa.concat_tables(tables), provenance)
            progress.advance()
            if stop.requested:
                return False
        _report(skipped, progress)
    return True


def _tables(
    trained: TrainedDetector,
    dataset: Dataset,
    shards: Sequence[str],
    settings: PredictSettings,
    skipped: list[SkippedImage],
) -> Iterator[tuple[str, list[pa.Table]]]:
    batches = predict(
        trained.detector, dataset, shards, settings=settings, step=trained.step, skipped=skipped
    )
    for shard, pairs in groupby(batches, key=lambda pair: pair[0]):
        yield shard, [table for _, table in pairs]


def _report(skipped: list[SkippedImage], progress: Progress) -> None:
    if skipped:
        progress.say(f"{len(skipped)} images could not be read and have no row:")
        for line in name_skipped(skipped):
            progress.say(line)
