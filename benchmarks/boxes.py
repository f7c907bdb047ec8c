"""The box side of a step: 8 images of 30 boxes from the teacher's labels to the student's.

Two rows: the projection alone, one compiled call beside the same plan in plain numpy, image by image; and the whole
side of a step as the trainer runs it (projection, mixup and mosaic with erased patches, the label cache), which has
a bound of its own.
"""

from __future__ import annotations

import numpy as np

from benchmarks.measure import Result, at_most, compare, cpu_seconds
from pipeline.loaders.batch import LabelCache, UnlabeledPlan
from pipeline.plans.mix_plans import plan_mix
from pipeline.plans.move_boxes import project
from pipeline.plans.view_plans import ViewPlan, plan_strong, plan_weak
from pipeline.settings import MixSettings, ViewSettings
from storage.labels import Labels

BATCH_SIZE, REPEATS, RUNS = 8, 200, 5


def run() -> list[Result]:
    """Project 8 images of 30 boxes from the weak into the strong view, 200 times a run."""
    rng = np.random.default_rng(0)
    sizes_B2 = np.tile([480, 640], (BATCH_SIZE, 1))
    weak = plan_weak(rng, ViewSettings(), sizes_B2)
    strong = plan_strong(rng, ViewSettings(), sizes_B2)
    matrices_B33 = strong.box_matrices_B33 @ np.linalg.inv(weak.box_matrices_B33)
    labels = Labels.concatenate([_random_image(rng, size) for size in weak.sizes_B2])
    one, other = project(labels, matrices_B33, strong.sizes_B2), _plain(labels, matrices_B33, strong.sizes_B2)
    assert np.allclose(one.boxes_N4, other, atol=1e-2), "both give the same boxes"
    return [
        compare(
            "project 8 images x 30 boxes",
            lambda: [project(labels, matrices_B33, strong.sizes_B2) for _ in range(REPEATS)],
            lambda: [_plain(labels, matrices_B33, strong.sizes_B2) for _ in range(REPEATS)],
            bar=2.0,
            scale=1e3 / REPEATS,
            unit="CPU ms a step",
        ),
        _whole_side(rng, weak, strong, labels),
    ]


def _whole_side(rng: np.random.Generator, weak: ViewPlan, strong: ViewPlan, labels: Labels) -> Result:
    cache = LabelCache(MixSettings().capacity(BATCH_SIZE))
    cache_sizes_K2 = np.tile(strong.sizes_B2, (2, 1))[: cache.capacity]
    mix = plan_mix(rng, MixSettings(), ViewSettings(), strong.sizes_B2, cache_sizes_K2)
    plan = UnlabeledPlan(
        keys=("",) * BATCH_SIZE,
        image_ids_B=np.arange(BATCH_SIZE),
        weak=weak,
        strong=strong,
        mix=mix,
    )

    def step() -> None:
        moved = plan.strong_labels(labels)
        if len(cache) == cache.capacity:
            plan.student_labels(moved, cache)
            plan.mosaic_labels(cache)
        cache.push(moved)

    for _ in range(3):  # fills the cache, compiles the kernel
        step()
    seconds = min(cpu_seconds(lambda: [step() for _ in range(REPEATS)]) for _ in range(RUNS)) / REPEATS
    name = "the whole box side: project, mixup, mosaic, erase, cache"
    return at_most(name, 1e3 * seconds, bar=0.3, unit="CPU ms a step")


def _random_image(rng: np.random.Generator, size_2: np.ndarray) -> Labels:
    corners = rng.random((30, 2)) * size_2[::-1] * 0.8
    boxes_N4 = np.concatenate([corners, corners + 0.15 * size_2[::-1]], axis=1)
    return Labels.of_image(boxes_N4, rng.integers(80, size=30), rng.random(30))


def _plain(labels: Labels, matrices_B33: np.ndarray, sizes_B2: np.ndarray) -> np.ndarray:
    """Hull of the moved corners, clipped, degenerate boxes dropped."""
    moved = []
    for index in range(len(labels)):
        boxes_N4 = labels.image(index).boxes_N4.astype(np.float64)
        corners_N43 = np.ones((len(boxes_N4), 4, 3))
        corners_N43[:, :, :2] = boxes_N4[:, [[0, 1], [2, 1], [0, 3], [2, 3]]]
        points_N42 = (corners_N43 @ matrices_B33[index].T)[:, :, :2]
        hull_N4 = np.concatenate([points_N42.min(axis=1), points_N42.max(axis=1)], axis=1)
        height, width = sizes_B2[index]
        hull_N4 = np.clip(hull_N4, 0, [width, height, width, height])
        sides_N2 = hull_N4[:, 2:] - hull_N4[:, :2]
        moved.append(hull_N4[(sides_N2 > 0.01).all(axis=1)])
    return np.concatenate(moved)
