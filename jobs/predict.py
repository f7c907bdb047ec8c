"""`mixpl predict`: what a model finds in your images.

In: a model (a run, a checkpoint, or weights that `mixpl weights` exported) and images: files, folders,
patterns, the frames of a video. Out: pictures with boxes over them, or the boxes as COCO, JSON lines or Label
Studio tasks, in pixels of the upright images. Guaranteed: the boxes are those that `mixpl label` finds in the
same images; the output appears when it is complete and not before; an image that cannot be used is named and
counted, and the others are predicted.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

import pyarrow as pa
import tyro

from jobs.console.progress import Progress
from jobs.inference.open_model import OpenedModel, open_model
from jobs.inference.predictions import MAX_NAMED, PredictSettings, predict_shards, shard_tables
from jobs.inference.trained import Weights, choose_device
from jobs.inference.write_predictions import PredictionFormat, format_of, write_predictions
from jobs.recipes.ranges import require_at_least
from pipeline.loaders.predict_loader import SkippedImage
from pipeline.samples.image_files import ImageFiles
from storage.errors import ConfigError, SourceError
from storage.export.appearing import require_new
from storage.export.header import ExportHeader
from storage.export.labeled_images import IMAGE_SCHEMA, LabeledImages
from storage.readers.find_images import find_images
from storage.tables.label_table import table_labels


@dataclass(frozen=True, kw_only=True, slots=True)
class PredictConfig:
    """Which model, which images, and where to."""

    model: tyro.conf.Positional[str]
    """A run's folder (its newest checkpoint), a checkpoint, or exported weights."""
    images: tyro.conf.Positional[tuple[str, ...]]
    """Image files, folders of them, patterns such as 'photos/**/*.jpg'; the frames of a video in the order of the
    numbers in their names."""
    out: str = "predictions"
    """What to write; it must not exist. A file.json is COCO, a file.jsonl JSON lines, a folder has a picture with
    boxes for every image, unless --format says something else."""
    format: PredictionFormat | None = None
    """overlays: pictures with boxes, classes and scores. coco: one file with images and annotations that have a
    score. coco-results: a folder with the results that pycocotools takes and the images they are of. jsonl: a line
    an image. labelstudio: a folder with tasks and their labeling interface."""
    score_threshold: float | None = None
    """Boxes above it are kept; the model's own threshold by default."""
    limit: int | None = None
    """Most images to look at, the first ones."""
    image_url: str = ""
    """What stands before the file names in labelstudio: "https://host/images/"."""
    weights: Weights = "teacher"
    """Whose weights, of a run or a checkpoint."""
    batch: int = 8
    """Most images a batch; what is found in an image does not depend on it."""
    threads: int = 1
    """Threads of the DALI graph."""
    device: Literal["auto", "cpu", "cuda"] = "auto"
    """Where to predict."""

    def __post_init__(self) -> None:
        """Check the ranges."""
        require_at_least(1, self, "batch", "threads", "limit")
        if self.score_threshold is not None and not 0 <= self.score_threshold < 1:
            raise ConfigError(f"--score-threshold must lie in 0 .. 1, got {self.score_threshold}")
        if self.image_url and self.format != "labelstudio":
            raise ConfigError(f"--image-url is for --format labelstudio, got format {self.format}")
        if not self.images:
            raise ConfigError("expected images after the model: files, folders or patterns; got none")


def predict(config: PredictConfig) -> int:
    """Write what is found and return 0. Raises ConfigError, SourceError where there are no images, StoreError."""
    form = format_of(config.out, config.format)
    require_new(config.out)
    found = find_images(config.images).first(config.limit)
    device = choose_device(config.device)
    model = open_model(config.model, weights=config.weights, device=device)
    images = ImageFiles(found.locations, found.names, root=config.images[0])
    settings = PredictSettings(
        view=model.card.view_settings, batch=config.batch, threads=config.threads, device=device
    )
    prediction = Prediction(model, images, settings, threshold=config.score_threshold)
    with Progress("predict", total=len(images.names), unit="images") as progress:
        write_predictions(
            config.out,
            prediction.batches(progress),
            _header(model, config.images[0], prediction.threshold),
            form=form,
            images=images,
            image_url=config.image_url,
        )
    prediction.say(config.out)
    return 0


class Prediction:
    """What a model finds in images, and the counts of it."""

    def __init__(
        self, model: OpenedModel, images: ImageFiles, settings: PredictSettings, *, threshold: float | None
    ) -> None:
        """`threshold`: boxes that score above it are kept; None is the model's own."""
        self._model, self._images, self._settings = model, images, settings
        self.threshold = model.card.score_threshold if threshold is None else threshold
        self.skipped: list[SkippedImage] = []
        self.num_images = self.num_boxes = 0
        self._began = time.monotonic()

    def batches(self, progress: Progress) -> Iterator[LabeledImages]:
        """Yield the images in order with their boxes. Raises SourceError when not a single one can be used."""
        tables = shard_tables(
            predict_shards(
                self._model.predictor,
                self._images,
                self._images.shards,
                settings=self._settings,
                skipped=self.skipped,
            )
        )
        for _, table in tables:
            batch = self._labeled(table)
            self.num_images += len(batch)
            self.num_boxes += len(batch.labels.boxes_N4)
            progress.advance(len(batch))
            yield batch
        if not self.num_images:
            first = self.skipped[0]
            raise SourceError(
                f"expected images, got {len(self.skipped):,} of which none can be used, the first is "
                f"{first.shard}: {first.reason}; save them anew as JPEG or PNG"
            )

    def say(self, out: str) -> None:
        """Print what was found, how fast, and which images could not be used."""
        seconds = time.monotonic() - self._began
        print(
            f"{out}: {self.num_boxes:,} boxes with score > {self.threshold:g} in {self.num_images:,} images by "
            f"{self._model.card.source}, {self.num_images / seconds:.1f} images a second"
        )
        if self.skipped:
            print(f"{len(self.skipped):,} images cannot be used:")
            for image in self.skipped[:MAX_NAMED]:
                print(f"  {image.key}: {image.reason}")
            if len(self.skipped) > MAX_NAMED:
                print(f"  and {len(self.skipped) - MAX_NAMED:,} more")

    def _labeled(self, table: pa.Table) -> LabeledImages:
        columns = {name: table[name] for name in ("image_id", "width", "height")}
        rows = pa.array([image_id - 1 for image_id in table["image_id"].to_pylist()], pa.int64())
        images = pa.table({"row": rows, "file_name": table["key"], **columns})
        return LabeledImages(
            images=images.select(IMAGE_SCHEMA.names).cast(IMAGE_SCHEMA),
            labels=table_labels(table).above(self.threshold),
        )


def _header(model: OpenedModel, images: str, threshold: float) -> ExportHeader:
    card = model.card
    origin = card.provenance
    weights_hash = str(origin.get("weights_hash") or "")
    return ExportHeader(
        classes=card.classes,
        category_ids=tuple(range(1, len(card.classes) + 1)),
        dataset=images,
        description=f"Found in {images} by {card.source}: boxes with score > {threshold:g}",
        model_version=f"{origin.get('run')}-step-{origin.get('step')}-{weights_hash[:8]}",
    )
