"""Pictures of what a run does, for a person to look at.

In: the demo's shards, runs and label tables. Out: PNG files: weak and strong views, mixup and mosaic with the
boxes that the plan gives them, the teacher's predictions beside the truth, learning curves, and boxes by class.
The kept-apart truth is used here only to draw with.
"""

from __future__ import annotations

import io
import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
from PIL import Image, ImageOps

from analysis.figures import (
    class_counts,
    draw_boxes,
    learning_curves,
    teacher_beside_truth,
    tile_grid,
    write_png,
)
from analysis.quality import Quality
from jobs.predictions import PredictSettings, predict
from jobs.trained import TrainedDetector
from pipeline import boxes
from pipeline.batch import LabelCache, TrainBatch, View
from pipeline.loader import TrainLoader
from pipeline.settings import MixSettings, ViewSettings
from storage import files
from storage.dataset import Dataset
from storage.label_store import table_labels
from storage.labels import Labels

Picture = npt.NDArray[np.uint8]


def draw_views(out: str, unlabeled: Dataset, *, view: ViewSettings, seed: int) -> str:
    """Draw weak and strong views of four images with the truth projected into each; return the file."""
    still = MixSettings(mixup=False, mosaic=False, erase=False)
    batch = _batches(unlabeled, view=view, mix=still, seed=seed, num_steps=1)[0]
    assert batch.plan is not None
    assert batch.weak is not None
    assert batch.student is not None
    weak = _weak_truth(unlabeled, batch)
    tiles = [
        *_tiles(batch.weak, weak, unlabeled.classes, view, "weak"),
        *_tiles(batch.student, batch.plan.strong_labels(weak), unlabeled.classes, view, "strong"),
    ]
    return _write(out, tile_grid(tiles, columns=4, title="Weak views (teacher) above strong views (student)"))


def draw_mixes(out: str, unlabeled: Dataset, *, view: ViewSettings, mix: MixSettings, seed: int) -> str:
    """Draw three mixup images and a mosaic, with the boxes that the plan gives them; return the file."""
    batches = _batches(unlabeled, view=view, mix=mix, seed=seed, num_steps=1 + mix.capacity(4) // 4)
    cache = LabelCache(mix.capacity(4))
    tiles: list[tuple[Picture, str]] = []
    for batch in batches:
        assert batch.plan is not None
        strong = batch.plan.strong_labels(_weak_truth(unlabeled, batch))
        if batch.mosaic is not None:
            assert batch.student is not None
            student = batch.plan.student_labels(strong, cache)
            tiles = _tiles(batch.student, student, unlabeled.classes, view, "mixup")[:3]
            tiles += _tiles(batch.mosaic, batch.plan.mosaic_labels(cache), unlabeled.classes, view, "mosaic")
        cache.push(strong)
    return _write(out, tile_grid(tiles, columns=4, title="Pseudo-mixup and pseudo-mosaic, erased"))


def draw_predictions(
    out: str, trained: TrainedDetector, test: Dataset, *, threshold: float, num_images: int = 4
) -> str:
    """Draw the teacher's boxes above the threshold beside the truth on the first test images; return the file."""
    settings = PredictSettings(view=trained.config.view)
    tables = predict(trained.detector, test, test.shards[:1], settings=settings, skipped=[])
    found = pa.concat_tables([table for _, table in tables]).slice(0, num_images)
    labels = table_labels(found)
    labels = labels.keep(labels.scores_N > threshold)
    truth = _truth(test, found["key"].to_pylist(), hidden=False)
    panels = []
    for row, key in enumerate(found["key"].to_pylist()):
        picture = _original(test, key)
        panels.append(
            (teacher_beside_truth(picture, labels.image(row), truth.image(row), test.classes), str(key))
        )
    return _write(
        out, tile_grid(panels, columns=2, title=f"Teacher (score > {threshold:g}) beside the truth")
    )


def draw_curves(out: str, runs: Sequence[Path], *, metric: str = "AP50") -> str:
    """Draw a metric of each run's scorings over its steps; return the file."""
    arms = {run.name: read_curve(run / "metrics.jsonl", metric) for run in runs}
    return _write(
        out, learning_curves(arms, metric=metric, title=f"{metric} of the teacher on the test images")
    )


def draw_counts(out: str, found: Quality) -> str:
    """Draw the boxes of each class: the truth, the pseudo labels, and how many of these are correct."""
    rows = found.by_class()
    counts = {name: [row[name] for row in rows] for name in ("truth", "pseudo_labels", "correct")}
    picture = class_counts(
        found.classes,
        counts["truth"],
        counts["pseudo_labels"],
        correct=counts["correct"],
        title=f"Boxes by class on {found.num_images} unlabeled images (score > {found.score_threshold:g})",
    )
    return _write(out, picture)


def read_curve(metrics: Path, metric: str) -> list[tuple[int, float]]:
    """Return (step, value) of every scoring in a metrics file."""
    rows = [json.loads(line) for line in metrics.read_text(encoding="utf-8").splitlines()]
    return [(row["step"], row[metric]) for row in rows if metric in row]


def _batches(
    unlabeled: Dataset, *, view: ViewSettings, mix: MixSettings, seed: int, num_steps: int
) -> list[TrainBatch]:
    with TrainLoader(None, unlabeled, view=view, mix=mix, seed=seed, num_steps=num_steps) as loader:
        return list(loader)


def _weak_truth(unlabeled: Dataset, batch: TrainBatch) -> Labels:
    assert batch.plan is not None
    plan = batch.plan
    truth = _truth(unlabeled, plan.keys, hidden=True)
    return boxes.project(truth, plan.weak.matrices_B33, plan.weak.sizes_B2)


def _truth(dataset: Dataset, keys: Sequence[str], *, hidden: bool) -> Labels:
    store = dataset.hidden_truth() if hidden else dataset.ground_truth()
    if store is None:
        return Labels.empty(len(keys))
    table = store.read_all()
    labels, row_of = table_labels(table), {key: row for row, key in enumerate(table["key"].to_pylist())}
    return Labels.concatenate([labels.image(row_of[key]) for key in keys])


def _tiles(
    view: View, labels: Labels, classes: Sequence[str], settings: ViewSettings, caption: str
) -> list[tuple[Picture, str]]:
    images_BHWC = view.images_BCHW.permute(0, 2, 3, 1).cpu().numpy()
    tiles = []
    for index, (height, width) in enumerate(view.sizes_B2):
        pixels = images_BHWC[index, :height, :width] * np.array(settings.std) + np.array(settings.mean)
        picture = np.clip(np.rint(pixels), 0, 255).astype(np.uint8)
        tiles.append((draw_boxes(picture, labels.image(index), classes, show_scores=False), caption))
    return tiles


def _original(dataset: Dataset, key: str) -> Picture:
    row = dataset.images().filter(pc.field("key") == key).to_pylist()[0]
    data = files.read_range(dataset.shard_path(row["shard"]), row["offset"], row["size"])
    return np.asarray(ImageOps.exif_transpose(Image.open(io.BytesIO(data))).convert("RGB"))


def _write(location: str, picture: Picture) -> str:
    write_png(location, picture)
    return location
