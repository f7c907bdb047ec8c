"""Pictures of what a run does, for a person to look at.

In: the demo's shards, runs and label tables. Out: PNG files: weak and strong views, mixup and mosaic with the
boxes that the plan gives them, the teacher's predictions beside the truth, learning curves, and boxes by class.
The kept-apart truth is used here only to draw with.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

from analysis.figures.boxes_on_images import (
    class_counts,
    draw_boxes,
    learning_curves,
    teacher_beside_truth,
    tile_grid,
    write_png,
)
from analysis.quality import Quality
from jobs.inference.predictions import PredictSettings, predict_shards, shard_tables
from jobs.inference.trained import TrainedDetector
from jobs.pictures.view_pictures import Picture, known_truth, original_picture, view_pictures
from jobs.recipes.detector_defaults import view_settings
from pipeline.loaders.batch import LabelCache, TrainBatch, View
from pipeline.loaders.train_loader import TrainLoader
from pipeline.loaders.unlabeled import UnlabeledData
from pipeline.plans import move_boxes as boxes
from pipeline.samples.stream import OrderSettings
from pipeline.settings import MixSettings, ViewSettings
from storage.dataset.dataset import Dataset
from storage.labels import Labels
from storage.tables.label_table import table_labels


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
    settings = PredictSettings(view=view_settings(trained.config))
    batches = predict_shards(trained.detector, test, test.shards[:1], settings=settings, skipped=[])
    ((_, table),) = shard_tables(batches)
    found = table.slice(0, num_images)
    labels = table_labels(found)
    labels = labels.above(threshold)
    truth = known_truth(test, found["key"].to_pylist())
    assert truth is not None, "test images have labels"
    panels = []
    for row, key in enumerate(found["key"].to_pylist()):
        picture = original_picture(test, key)
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
    data, order = UnlabeledData(dataset=unlabeled, mix=mix), OrderSettings(seed=seed)
    with TrainLoader(None, data, view=view, order=order, num_steps=num_steps) as loader:
        return list(loader)


def _weak_truth(unlabeled: Dataset, batch: TrainBatch) -> Labels:
    assert batch.plan is not None
    truth = known_truth(unlabeled, batch.plan.keys)
    assert truth is not None, "the demo keeps the truth of its unlabeled images"
    return boxes.project(truth, batch.plan.weak.box_matrices_B33, batch.plan.weak.sizes_B2)


def _tiles(
    view: View, labels: Labels, classes: Sequence[str], settings: ViewSettings, caption: str
) -> list[tuple[Picture, str]]:
    return [
        (draw_boxes(picture, labels.image(index), classes, show_scores=False), caption)
        for index, picture in enumerate(view_pictures(view, settings))
    ]


def _write(location: str, picture: Picture) -> str:
    write_png(location, picture)
    return location
