"""Greedy class-wise IoU matching of whole tables: the numba kernel beside pycocotools' evaluation."""

from __future__ import annotations

import contextlib
import io

import numpy as np
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from analysis.matching import match_labels
from benchmarks.measure import Result, compare
from storage.boxes import area, xyxy_to_xywh
from storage.labels import Labels

NUM_IMAGES, NUM_CLASSES = 2_000, 10


def run() -> list[Result]:
    """Match 2,000 images of 30 detections and 10 truth boxes at IoU 0.5, one area range."""
    rng = np.random.default_rng(0)
    truth, detections = _random_labels(rng, 10), _random_labels(rng, 30)
    with contextlib.redirect_stdout(io.StringIO()):
        evaluation = COCOeval(_coco(truth), _coco(detections), "bbox")
        evaluation.params.iouThrs = np.array([0.5])
        evaluation.params.areaRng, evaluation.params.areaRngLbl = [[0, 1e10]], ["all"]
        return [
            compare(
                "match 2,000 images, 60,000 boxes",
                lambda: match_labels(detections, truth, iou_threshold=0.5),
                lambda: evaluation.evaluate(),
                bar=20.0,
            )
        ]


def _random_labels(rng: np.random.Generator, per_image: int) -> Labels:
    num = NUM_IMAGES * per_image
    corners_N2 = rng.uniform(0, 500, (num, 2))
    boxes_N4 = np.concatenate([corners_N2, corners_N2 + rng.uniform(10, 140, (num, 2))], axis=1)
    return Labels(
        boxes_N4=boxes_N4.astype(np.float32),
        categories_N=rng.integers(NUM_CLASSES, size=num).astype(np.int32),
        scores_N=rng.random(num).astype(np.float32),
        offsets_B1=np.arange(NUM_IMAGES + 1) * per_image,
    )


def _coco(labels: Labels) -> COCO:
    images_N = labels.image_rows()
    coco = COCO()
    coco.dataset = {
        "images": [{"id": image} for image in range(len(labels))],
        "categories": [{"id": category} for category in range(NUM_CLASSES)],
        "annotations": [
            {
                "id": row + 1,
                "image_id": int(images_N[row]),
                "category_id": int(labels.categories_N[row]),
                "bbox": xyxy_to_xywh(labels.boxes_N4[row : row + 1])[0].tolist(),
                "area": float(area(labels.boxes_N4[row : row + 1])[0]),
                "score": float(labels.scores_N[row]),
                "iscrowd": 0,
            }
            for row in range(len(images_N))
        ],
    }
    coco.createIndex()
    return coco
