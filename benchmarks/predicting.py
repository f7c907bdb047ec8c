"""`mixpl predict` from image files to a file of JSON lines, beside the model alone on views that are ready.

Photographs of 640 x 480 px at a short side of 800 px, batches of 8. What predict adds: files are read and checked,
decoded, resized and normalised, boxes go back to the original pixels and into the file. CPU seconds of all threads,
so reading that runs beside the model on another core counts in full.
"""

from __future__ import annotations

import tempfile
from functools import partial
from pathlib import Path

import torch

from benchmarks.measure import Result, compare
from benchmarks.photos import write_photos
from jobs.console.progress import Progress
from jobs.inference.model_card import ModelCard
from jobs.inference.open_model import OpenedModel
from jobs.inference.predictions import PredictSettings
from jobs.inference.write_predictions import write_predictions
from jobs.predict import Prediction
from model.detectors.build import DetectorName, build_detector
from pipeline.loaders.batch import View
from pipeline.loaders.predict_loader import PredictLoader
from pipeline.samples.image_files import ImageFiles
from pipeline.settings import ViewSettings
from storage.export.header import ExportHeader
from storage.readers.find_images import find_images

NUM_PHOTOS, BATCH, NUM_CLASSES = 16, 8, 6
DETECTORS: tuple[DetectorName, ...] = ("fcos-compact", "fcos-resnet50")
RUNS = 3
BAR = 0.9
"""Of the model's own throughput."""


def run() -> list[Result]:
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        write_photos(Path(folder) / "images", NUM_PHOTOS)
        return [_compared(name, folder) for name in DETECTORS]


def _compared(name: DetectorName, folder: str) -> Result:
    detector = build_detector(name, num_classes=NUM_CLASSES, seed=0).eval()
    card = ModelCard(
        model={"name": name},
        classes=tuple(f"class {number}" for number in range(NUM_CLASSES)),
        view={},
        score_threshold=0.1,
        provenance={},
    )
    model = OpenedModel(predictor=detector, card=card, location=name)
    with PredictLoader(_images(folder), batch_size=BATCH, view=ViewSettings()) as loader:
        views = [batch.view for batch in loader]
    return compare(
        f"predict with {name}, {NUM_PHOTOS} photographs to JSON lines",
        partial(_ours, model, folder),
        partial(_model_alone, model, views),
        bar=BAR,
        runs=RUNS,
        scale=1e3 / NUM_PHOTOS,
        unit="CPU ms an image",
    )


def _images(folder: str) -> ImageFiles:
    found = find_images([f"{folder}/images"])
    return ImageFiles(found.locations, found.names, root=folder)


def _ours(model: OpenedModel, folder: str) -> None:
    images = _images(folder)
    prediction = Prediction(model, images, PredictSettings(view=ViewSettings(), batch=BATCH), threshold=None)
    header = ExportHeader(
        classes=model.card.classes, category_ids=(), dataset="", description="", model_version=""
    )
    out = f"{folder}/found.jsonl"
    Path(out).unlink(missing_ok=True)
    with Progress("predict", total=NUM_PHOTOS, unit="images") as progress:
        write_predictions(out, prediction.batches(progress), header, form="jsonl", images=images)
    assert prediction.num_images == NUM_PHOTOS, "every photograph is predicted"


def _model_alone(model: OpenedModel, views: list[View]) -> None:
    for view in views:
        model.predictor.predict(view.images_BCHW, view.sizes_B2)
