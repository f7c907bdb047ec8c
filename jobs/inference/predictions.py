"""A detector over a data set or image files: test views in, label tables in pixels of the originals out.

`mixpl eval`, `mixpl label` and `mixpl predict` are this loop with another end. Guaranteed: what is found in an
image depends on the image and the weights, not on the size of the batches, the other images and their order,
the shards or the number of workers; how exactly, docs/exactness.md says.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import groupby
from typing import Protocol

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import torch
from torch import Tensor

from jobs.inference.tensor_labels import labels_of
from model.detector import Detections, Sizes
from pipeline.graphs.graph import GraphDevice
from pipeline.loaders.predict_loader import PredictLoader, SkippedImage
from pipeline.samples.image_files import ImageFiles
from pipeline.settings import ViewSettings
from storage.dataset.dataset import Dataset
from storage.tables.label_table import label_table

MAX_NAMED = 10
"""Unreadable images that are named on the screen."""


class Predictor(Protocol):
    """What predicts: a detector, or a graph in another runtime."""

    def predict(self, images_BCHW: Tensor, sizes_B2: Sizes) -> list[Detections]:
        """Return the detections of every image."""


@dataclass(frozen=True, kw_only=True, slots=True)
class PredictSettings:
    """How to run a detector over images; the results do not depend on it."""

    view: ViewSettings
    batch: int = 8
    """Most images a batch; all of a batch have one padded size."""
    threads: int = 1
    """Threads of the DALI graph."""
    device: torch.device = field(default_factory=lambda: torch.device("cpu"))


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class PredictedBatch:
    """What the detector found in a batch of images of one shard."""

    shard: str
    """File name of the shard."""
    rows_B: npt.NDArray[np.int64]
    """Rows of the image table."""
    table: pa.Table
    """Their label table, in the same order."""


def predict_shards(
    detector: Predictor,
    dataset: Dataset | ImageFiles,
    shards: Sequence[str],
    *,
    settings: PredictSettings,
    step: int | None = None,
    skipped: list[SkippedImage],
    whole_shards: bool = False,
) -> Iterator[PredictedBatch]:
    """Yield what is found batch by batch, in the order of the shards.

    `step` is the training step of the detector, for the tables. Images that cannot be read have no row; they
    stand in `skipped` before the first batch of the next shard comes. With `whole_shards` nothing more is read of
    a shard once one of them may be had another time.
    """
    loader = PredictLoader(
        dataset,
        shards,
        batch_size=settings.batch,
        view=settings.view,
        device=GraphDevice.from_torch(settings.device, num_threads=settings.threads),
        whole_shards=whole_shards,
    )
    with loader:
        for batch in loader:
            skipped += loader.skipped[len(skipped) :]
            detections = detector.predict(batch.view.images_BCHW, batch.view.sizes_B2)
            labels = batch.to_original(labels_of(detections))
            table = label_table(batch.keys, batch.image_ids_B, batch.original_sizes_B2, labels, step=step)
            yield PredictedBatch(shard=batch.shard, rows_B=batch.rows_B, table=table)
        skipped += loader.skipped[len(skipped) :]


def shard_tables(batches: Iterable[PredictedBatch]) -> Iterator[tuple[str, pa.Table]]:
    """Yield (shard, label table) once a shard is done, its rows in the order of the image table."""
    for shard, group in groupby(batches, key=lambda batch: batch.shard):
        parts = list(group)
        order = np.argsort(np.concatenate([part.rows_B for part in parts]))
        yield shard, pa.concat_tables([part.table for part in parts]).take(order)


def name_skipped(skipped: Sequence[SkippedImage]) -> list[str]:
    """Return a line for each of the first images that could not be read, and one for the rest."""
    lines = [f"  {image.shard} {image.key}: {image.reason}" for image in skipped[:MAX_NAMED]]
    return [*lines, f"  and {len(skipped) - MAX_NAMED:,} more"] if len(skipped) > MAX_NAMED else lines
