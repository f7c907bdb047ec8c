"""`mixpl eval`: COCO figures of a trained detector on labeled shards, printed and kept as a table.

In: a run or a checkpoint, and a labeled data set. Out: `RUN/evaluations/*.parquet`, which SQL sees as the view
`evaluations`, and the twelve figures with AP by class on the screen. Images that cannot be read count as images
without detections, and are named.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Literal

import numpy as np
import pyarrow as pa
import tyro

from analysis.coco_eval import Evaluation, evaluate_tables
from jobs.console.print_table import print_table, rounded
from jobs.console.progress import Progress
from jobs.inference.predictions import MAX_NAMED, PredictSettings, name_skipped, predict
from jobs.inference.trained import Weights, choose_device, open_trained
from jobs.run.run_directory import RunDirectory
from model.detector import Detector
from pipeline.loaders.predict_loader import SkippedImage
from storage.dataset.dataset import Dataset
from storage.errors import ConfigError
from storage.labels import Labels
from storage.tables.label_store import ASK_VERIFY
from storage.tables.label_table import label_table
from storage.tables.parquet import write_parquet

FIGURES = ("AP", "AP50", "AP75", "AP_small", "AP_medium", "AP_large", "AP50_tiny", "AP_tail")


@dataclass(frozen=True, kw_only=True, slots=True)
class EvalConfig:
    """What to score, and on what."""

    run: Annotated[str, tyro.conf.Positional]
    """A run's folder (its newest checkpoint) or one checkpoint file."""
    data: str
    """Folder of labeled shards."""
    weights: Weights = "teacher"
    """Whose weights."""
    batch: int = 8
    """Images a batch."""
    threads: int = 1
    """Threads of the DALI graph."""
    device: Literal["auto", "cpu", "cuda"] = "auto"
    """Where to predict."""


def evaluate(config: EvalConfig) -> Evaluation:
    """Score the detector, keep the figures beside its run and print them."""
    device = choose_device(config.device)
    trained = open_trained(config.run, weights=config.weights, device=device)
    dataset = Dataset.open(config.data)
    dataset.require_same_classes(trained.classes)
    with Progress("eval", total=dataset.num_images, unit="images") as progress:
        settings = PredictSettings(
            view=trained.config.view, batch=config.batch, threads=config.threads, device=device
        )
        result = score(trained.detector, dataset, settings=settings, progress=progress)
    keep(result, trained.run, dataset=dataset, weights=config.weights, step=trained.step)
    show(result, title=f"{trained.run.name} ({config.weights}, step {trained.step}) on {dataset.name}")
    return result


def score(
    detector: Detector, dataset: Dataset, *, settings: PredictSettings, progress: Progress | None = None
) -> Evaluation:
    """Return the figures of a detector on a labeled data set.

    Raises ConfigError when the set has no labels, before the first image, and when no image can be read.
    """
    dataset.ground_truth()
    return score_detections(dataset, [detect(detector, dataset, dataset.shards, settings, progress)])


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Detected:
    """What a detector finds in some shards of a data set."""

    tables: list[pa.Table]
    skipped: list[SkippedImage]


def detect(
    detector: Detector,
    dataset: Dataset,
    shards: Sequence[str],
    settings: PredictSettings,
    progress: Progress | None = None,
) -> Detected:
    """Return the detections in these shards, and the images that cannot be read."""
    tables: list[pa.Table] = []
    skipped: list[SkippedImage] = []
    for _, table in predict(detector, dataset, shards, settings=settings, skipped=skipped):
        tables.append(table)
        if progress:
            progress.advance(len(table))
    return Detected(tables=tables, skipped=skipped)


def score_detections(dataset: Dataset, parts: Sequence[Detected]) -> Evaluation:
    """Return the figures of what was found in all shards, in any number of parts and any order.

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


def keep(result: Evaluation, run: RunDirectory, *, dataset: Dataset, weights: Weights, step: int) -> str:
    """Write the figures as a table beside the run and return where."""
    table = result.to_table()
    for name, value in (("dataset", dataset.name), ("weights", weights), ("step", step), ("run", run.name)):
        kind = pa.int64() if isinstance(value, int) else pa.string()
        table = table.add_column(0, pa.field(name, kind), pa.array([value] * len(table), kind))
    path = kept_path(run, dataset=dataset, weights=weights, step=step)
    write_parquet(path, table)
    return path


def kept_path(run: RunDirectory, *, dataset: Dataset, weights: Weights, step: int) -> str:
    """Return where the table of a scoring lies once it is done."""
    return str(run.evaluations / f"{dataset.name}-{dataset.hash[:8]}-{weights}-step-{step:09d}.parquet")


def show(result: Evaluation, *, title: str) -> None:
    """Print the figures: the twelve of COCO, tiny objects, the tail, and each class."""
    print(title)
    more = f" and {len(result.tail) - MAX_NAMED} more" if len(result.tail) > MAX_NAMED else ""
    print(f"the tail is the rarest third of the classes: {', '.join(result.tail[-MAX_NAMED:])}{more}")
    recalls = [name for name in result.figures if name.startswith("AR_")]
    for names in (FIGURES, recalls):
        print_table(pa.table({name: rounded([result.figures[name]]) for name in names}))
    classes = {"AP": rounded(result.ap_C), "AP50": rounded(result.ap50_C), "truth boxes": result.num_truth_C}
    print_table(pa.table({"class": result.classes} | classes))
