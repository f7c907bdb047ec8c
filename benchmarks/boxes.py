"""The box side of a step: one compiled call for 8 images beside the same plan in plain numpy, image by image."""

from __future__ import annotations

import numpy as np

from benchmarks.measure import Result, compare
from pipeline.boxes import project
from pipeline.settings import ViewSettings
from pipeline.view_plans import plan_strong, plan_weak
from storage.labels import Labels

REPEATS = 200


def run() -> list[Result]:
    """Project 8 images of 30 boxes from the weak into the strong view, 200 times a run."""
    rng = np.random.default_rng(0)
    sizes_B2 = np.tile([480, 640], (8, 1))
    weak = plan_weak(rng, ViewSettings(), sizes_B2)
    strong = plan_strong(rng, ViewSettings(), sizes_B2)
    matrices_B33 = strong.matrices_B33 @ np.linalg.inv(weak.matrices_B33)
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
        )
    ]


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
