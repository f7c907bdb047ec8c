"""Repeat factors of a COCO-size data set, from the file to the factor: SQL over Parquet beside Python over JSON.

118,000 images with 860,000 boxes of 80 classes, long-tailed. Ours reads the label table, groups and joins in SQL.
Theirs is the usual way of class-balanced data sets (LVIS, arXiv 1908.03195): pycocotools reads the annotation
file, then loops take the set of each image's categories, a counter over images, and a maximum for each image.
"""

from __future__ import annotations

import contextlib
import io
import json
import math
import tempfile
from collections import Counter
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from pycocotools.coco import COCO

from analysis.frequencies import repeat_factors
from benchmarks.measure import Result, compare
from storage.boxes import xyxy_to_xywh
from storage.database import connect
from storage.dataset import IMAGE_SCHEMA, Dataset
from storage.label_store import LabelStore, label_table, truth_table
from storage.labels import Labels

NUM_IMAGES, NUM_BOXES, NUM_CLASSES, THRESHOLD = 118_000, 860_000, 80, 0.05


def run() -> list[Result]:
    """Compare both on the same labels."""
    labels = _labels(np.random.default_rng(0))
    keys = [f"{image:012d}" for image in range(NUM_IMAGES)]
    per_image = [labels.image(image).categories_N.tolist() for image in range(NUM_IMAGES)]
    with tempfile.TemporaryDirectory() as folder:
        _write(folder, keys, labels)
        annotations = _write_coco(folder, labels)
        with connect(folder, threads=1) as con:

            def ours() -> pa.Table:
                return repeat_factors(con, threshold=THRESHOLD)

            factors = dict(zip(*(ours()[name].to_pylist() for name in ("key", "repeat_factor")), strict=True))
            expected = dict(zip(keys, _loops(per_image), strict=True))
            assert all(abs(factors[key] - expected[key]) < 1e-6 for key in keys), "both give the same factors"
            return [
                compare(
                    "repeat factors from the file, 118 k images, 860 k boxes",
                    ours,
                    lambda: _loops(_read_coco(annotations)),
                    bar=10.0,
                    runs=3,
                )
            ]


def _read_coco(path: str) -> list[list[int]]:
    with contextlib.redirect_stdout(io.StringIO()):
        coco = COCO(path)
    return [
        [annotation["category_id"] for annotation in coco.imgToAnns[image]]
        for image in sorted(coco.getImgIds())
    ]


def _loops(per_image: list[list[int]]) -> list[float]:
    images_with: Counter[int] = Counter()
    for categories in per_image:
        images_with.update(set(categories))
    factor = {
        category: max(1.0, math.sqrt(THRESHOLD / (count / len(per_image))))
        for category, count in images_with.items()
    }
    return [max((factor[category] for category in set(categories)), default=1.0) for categories in per_image]


def _labels(rng: np.random.Generator) -> Labels:
    counts = rng.multinomial(NUM_BOXES, np.full(NUM_IMAGES, 1 / NUM_IMAGES))
    shares = 1 / np.arange(1, NUM_CLASSES + 1)
    corners_N2 = rng.uniform(0, 400, (NUM_BOXES, 2))
    return Labels(
        boxes_N4=np.concatenate([corners_N2, corners_N2 + 50], axis=1).astype(np.float32),
        categories_N=rng.choice(NUM_CLASSES, NUM_BOXES, p=shares / shares.sum()).astype(np.int32),
        scores_N=np.ones(NUM_BOXES, np.float32),
        offsets_B1=np.concatenate([[0], np.cumsum(counts)]).astype(np.int64),
    )


def _write(folder: str, keys: list[str], labels: Labels) -> None:
    sizes_B2 = np.full((NUM_IMAGES, 2), 480)
    table = label_table(keys, np.arange(NUM_IMAGES), sizes_B2, labels)
    areas_N = np.full(NUM_BOXES, 2500.0)
    truth = truth_table(table, areas_N=areas_N, crowds=Labels.empty(NUM_IMAGES))
    LabelStore(f"{folder}/ground_truth").write("shard-000000", truth, {})
    columns = {
        "key": keys,
        "image_id": np.arange(NUM_IMAGES),
        "file_name": keys,
        "shard": ["shard-000000.tar"] * NUM_IMAGES,
        "offset": np.zeros(NUM_IMAGES, np.int64),
        "size": np.zeros(NUM_IMAGES, np.int64),
        "width": np.full(NUM_IMAGES, 480, np.int32),
        "height": np.full(NUM_IMAGES, 480, np.int32),
        "sha256": [""] * NUM_IMAGES,
        "split": pa.nulls(NUM_IMAGES, pa.string()),
    }
    pq.write_table(pa.table(columns, schema=IMAGE_SCHEMA), Path(folder) / "images.parquet")
    Dataset(
        root=folder,
        name="coco-size",
        classes=tuple(f"class {number}" for number in range(NUM_CLASSES)),
        category_ids=tuple(range(NUM_CLASSES)),
        num_images=NUM_IMAGES,
        num_boxes=NUM_BOXES,
        labeled=True,
        has_hidden_truth=False,
        source={},
        split=None,
        shards=("shard-000000.tar",),
        hash="",
    ).write()


def _write_coco(folder: str, labels: Labels) -> str:
    images_N = np.repeat(np.arange(NUM_IMAGES), labels.counts()).tolist()
    categories_N = labels.categories_N.tolist()
    document = {
        "images": [
            {"id": image, "file_name": f"{image:012d}.jpg", "width": 480, "height": 480}
            for image in range(NUM_IMAGES)
        ],
        "categories": [{"id": number, "name": f"class {number}"} for number in range(NUM_CLASSES)],
        "annotations": [
            {"id": row, "image_id": image, "category_id": category, "bbox": box, "area": 2500.0, "iscrowd": 0}
            for row, (image, category, box) in enumerate(
                zip(images_N, categories_N, xyxy_to_xywh(labels.boxes_N4).tolist(), strict=True), 1
            )
        ],
    }
    path = Path(folder) / "annotations.json"
    path.write_text(json.dumps(document))
    return str(path)
