"""A detector over a sharded data set: test views in, label tables in pixels of the originals out.

`mixpl eval` and `mixpl label` are this loop with another end.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import pyarrow as pa
import torch

from jobs.trainer import to_labels
from model.detector import Detector
from pipeline.predict import PredictLoader
from pipeline.settings import ViewSettings
from storage.dataset import Dataset
from storage.label_store import label_table


def predict(
    detector: Detector,
    dataset: Dataset,
    shards: Sequence[str],
    *,
    view: ViewSettings,
    batch_size: int,
    threads: int,
    device: torch.device,
    step: int | None = None,
) -> Iterator[tuple[pa.Table, list[str]]]:
    """Yield a label table a batch, in the order of the shards, and the keys that could not be read since."""
    with PredictLoader(
        dataset, shards=shards, settings=view, batch_size=batch_size, num_threads=threads, device=device.type
    ) as loader:
        for batch in loader:
            found = detector.predict(batch.view.images_BCHW, batch.view.sizes_B2)
            labels = batch.to_original(to_labels(found))
            yield label_table(batch.keys, batch.image_ids, batch.sizes_B2, labels, step=step), batch.skipped
