"""The shards of a round that one process labels: predicted, written, counted.

In: a trained detector, a data set, the shards of this process and the round's tables. Out: one table a shard,
complete or not there. Guarantees: a shard that has its whole table is skipped; after Ctrl-C the shard at hand is
still written; an image that never decodes has a reason in place of its row; a shard of which an image could not be
read, or whose bytes are not those that the set was written with, has no table, unless that is accepted, so that the
next run labels it.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import takewhile
from typing import Any

import pyarrow as pa

from jobs.console.progress import Progress
from jobs.inference.predictions import (
    PredictedBatch,
    PredictSettings,
    name_skipped,
    predict_shards,
    shard_tables,
)
from jobs.inference.trained import TrainedDetector
from jobs.labeling.round_tables import RoundTables
from jobs.run.interrupt import Interrupt
from pipeline.loaders.predict_loader import SkippedImage
from storage.dataset.dataset import Dataset
from storage.rounds.without_row import WithoutRow
from storage.tables.schemas import LABEL_SCHEMA


@dataclass(kw_only=True, slots=True)
class LabelingOutcome:
    """How far one process came."""

    interrupted: bool = False
    unread: dict[str, list[SkippedImage]] = field(default_factory=dict)
    """Shards that have no table because images of them could not be had, and the first such images."""


def label_shards(
    trained: TrainedDetector,
    dataset: Dataset,
    shards: Sequence[str],
    tables: RoundTables,
    settings: PredictSettings,
    provenance: dict[str, Any],
) -> LabelingOutcome:
    """Label the shards that have no whole table yet."""
    left = tables.unfinished(shards)
    outcome, skipped = LabelingOutcome(), list[SkippedImage]()
    batches = predict_shards(
        trained.detector,
        dataset,
        left,
        settings=settings,
        step=trained.step,
        skipped=skipped,
        whole_shards=not tables.accept_unreadable,
    )
    done = len(shards) - len(left)
    with Progress("label", total=len(shards), start=done, unit="shards") as progress, Interrupt() as stop:
        num_seen = 0
        for shard, table in _by_shard(batches, left):
            images = _of_shard(shard, skipped, num_seen)
            num_seen += len(images)
            if tables.accept_unreadable or all(image.lasting for image in images):
                reasons = {
                    image.key: WithoutRow(reason=image.reason, lasting=image.lasting) for image in images
                }
                tables.write(shard, table, reasons, provenance)
            else:
                outcome.unread[shard] = images
            progress.advance()
            if stop.requested:
                outcome.interrupted = True
                break
        _report(skipped, progress)
    return outcome


def _by_shard(batches: Iterable[PredictedBatch], shards: Sequence[str]) -> Iterator[tuple[str, pa.Table]]:
    """Yield every shard in order with its table, an empty one where no image of it could be used."""
    waiting = iter(shards)
    for shard, table in shard_tables(batches):  # read to its end: what was skipped is known then
        for empty in takewhile(lambda name, end=shard: name != end, waiting):  # type: ignore[misc]
            yield empty, LABEL_SCHEMA.empty_table()
        yield shard, table
    for empty in waiting:
        yield empty, LABEL_SCHEMA.empty_table()


def _of_shard(shard: str, skipped: Sequence[SkippedImage], first: int) -> list[SkippedImage]:
    """Return the images of a shard, which lie together from the `first`: they come in the order of the shards."""
    end = first
    while end < len(skipped) and skipped[end].shard == shard:
        end += 1
    return [*skipped[first:end]]


def _report(skipped: list[SkippedImage], progress: Progress) -> None:
    if skipped:
        progress.say(f"{len(skipped):,} images have no row:")
        for line in name_skipped(skipped):
            progress.say(line)
