"""A detector scored on labeled shards: detections in, COCO figures out, kept as a table beside the run.

In: a detector and a labeled data set; the shards may be divided among several processes. Out: an `Evaluation`, and
where it is asked for `RUN/evaluations/*.parquet`, which SQL sees as the view `evaluations`. Guaranteed: the figures
do not depend on how the shards were divided; images that cannot be read count as images without detections, and are
named.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from analysis.coco_eval import Evaluation, evaluate_tables
from jobs.console.progress import Progress
from jobs.inference.predictions import PredictSettings, name_skipped, predict_shards
from jobs.inference.trained import Weights
from jobs.run.run_directory import RunDirectory
from model.detector import Detector
from pipeline.loaders.predict_loader import SkippedImage
from storage.dataset.dataset import Dataset
from storage.errors import ConfigError
from storage.labels import Labels
from storage.tables.label_store import ASK_VERIFY
from storage.tables.label_table import label_table
from storage.tables.parquet import write_parquet


def score(
    detector: Detector, dataset: Dataset, *, settings: PredictSettings, progress: Progress | None = None
) -> Evaluation:
    """Return the figures of a detector on a labeled data set.

    Raises StoreError when the set has no labels, before the first image, and ConfigError when no image can be read.
    """
    dataset.ground_truth()
    return score_detections(dataset, [detect(detector, dataset, dataset.shards, settings, progress)])


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class ShardDetections:
    """The detections in some shards of a data set."""

    tables: list[pa.Table]
    skipped: list[SkippedImage]


def detect(
    detector: Detector,
    dataset: Dataset,
    shards: Sequence[str],
    settings: PredictSettings,
    progress: Progress | None = None,
) -> ShardDetections:
    """Return the detections in these shards, and the images that cannot be read."""
    tables: list[pa.Table] = []
    skipped: list[SkippedImage] = []
    for batch in predict_shards(detector, dataset, shards, settings=settings, skipped=skipped):
        tables.append(batch.table)
        if progress:
            progress.advance(len(batch.table))
    return ShardDetections(tables=tables, skipped=skipped)


def score_detections(dataset: Dataset, parts: Sequence[ShardDetections]) -> Evaluation:
    """Return the figures of the detections in all shards, in any number of parts and any order.

    Raises ConfigError when no image can be read.
    """
    tables = [table for part in parts for table in part.tables]
    skipped = [image for part in parts for image in part.skipped]
    if skipped and not tables:
        raise ConfigError(
            f"expected images to score on, got {len(skipped):,} of which none can be read, the first is "
            f"{skipped[0].key} in {dataset.shard_path(skipped[0].shard)}: {skipped[0].reason}; {ASK_VERIFY}"
        )
    if skipped:
        print(f"{len(skipped):,} images cannot be read and count as images without detections:")
        print(*name_skipped(skipped), sep="\n")
    tables.append(_without_detections(dataset, [image.key for image in skipped]))
    truth = dataset.ground_truth().read_all()
    return evaluate_tables(pa.concat_tables(tables), truth, classes=dataset.classes)


def _without_detections(dataset: Dataset, keys: list[str]) -> pa.Table:
    images = dataset.images().take(pa.array(dataset.rows_of(keys)))
    sizes_B2 = np.stack([images["height"].to_numpy(), images["width"].to_numpy()], axis=1)
    return label_table(keys, images["image_id"].to_numpy(), sizes_B2, Labels.empty(len(keys)))


def write_evaluation(
    result: Evaluation, run: RunDirectory, *, dataset: Dataset, weights: Weights, step: int
) -> str:
    """Write the figures as a table beside the run and return where."""
    table = result.to_table()
    for name, value in (("dataset", dataset.name), ("weights", weights), ("step", step), ("run", run.name)):
        kind = pa.int64() if isinstance(value, int) else pa.string()
        table = table.add_column(0, pa.field(name, kind), pa.array([value] * len(table), kind))
    path = evaluation_path(run, dataset=dataset, weights=weights, step=step)
    write_parquet(path, table)
    return path


def evaluation_path(run: RunDirectory, *, dataset: Dataset, weights: Weights, step: int) -> str:
    """Return where the table of a scoring lies once it is done."""
    return str(run.evaluations / f"{dataset.name}-{dataset.hash[:8]}-{weights}-step-{step:09d}.parquet")
