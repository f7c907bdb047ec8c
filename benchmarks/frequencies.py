"""Class frequencies and repeat factors of a COCO-size data set: SQL over Parquet beside Python over parsed records.

118,000 images with 860,000 boxes of 80 classes, long-tailed. Theirs follows the class-balanced data sets of the
training frameworks (the rule is LVIS's, arXiv 1908.03195): every image is a record that was parsed from the
annotation file and is kept serialised, one method returns the categories of image i, and loops ask it for every
image twice, to count and to take the maximum. Two comparisons:

- Everything is open: ours asks the views, which read the Parquet file every time; theirs loops over records in
  memory, after a load that is not counted. A record holds what is kept of COCO's annotations, with a polygon of 25
  points a box (train2017 has about 550 bytes an annotation): opened with the record, though nobody asks for it.
- From the files: ours finds the data set, opens the views and asks both questions; theirs reads the annotation file
  by pycocotools, makes the records and loops. Boxes only, without polygons.
"""

from __future__ import annotations

import contextlib
import io
import json
import math
import pickle
import tempfile
from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from pycocotools.coco import COCO

from analysis.frequencies import class_frequencies, repeat_factors
from benchmarks.measure import Result, at_most, compare
from benchmarks.tables import CLASSES, SIDE, keys_of, random_labels, write_labeled
from storage.boxes import xyxy_to_xywh
from storage.database.connect import connect
from storage.labels import Labels

NUM_IMAGES, NUM_BOXES, POLYGON_POINTS, THRESHOLD = 118_000, 860_000, 25, 0.05


def run() -> list[Result]:
    """Compare both on the same labels."""
    rng = np.random.default_rng(0)
    labels = random_labels(rng, NUM_IMAGES, NUM_BOXES)
    with tempfile.TemporaryDirectory() as folder:
        write_labeled(folder, iter([labels]))
        in_memory = _all_open(folder, Records(_with_polygons(rng, labels)))
        annotations = _write_coco(folder, labels)
        from_files = compare(
            "frequencies + repeat factors, from the files",
            lambda: ask(folder),
            lambda: loops(Records(_read_coco(annotations))),
            bar=20,
            runs=3,
        )
    bounded = at_most("the same, ours", from_files.ours, bar=0.3, unit=from_files.unit)
    return [in_memory, from_files, bounded]


def _all_open(folder: str, records: Records) -> Result:
    _, factors = ask(folder)
    assert np.allclose(factors["repeat_factor"], loops(records)), "both give the same factors"
    with connect(folder, threads=1) as con:
        return compare(
            "repeat factors, all open",
            lambda: repeat_factors(con, threshold=THRESHOLD),
            lambda: loops(records),
            bar=20,
        )


def ask(folder: str) -> tuple[pa.Table, pa.Table]:
    """Return class frequencies and repeat factors of what lies below a folder."""
    with connect(folder, threads=1) as con:
        return class_frequencies(con), repeat_factors(con, threshold=THRESHOLD)


class Records:
    """A parsed data set: one serialised record an image, end to end in one piece of memory."""

    def __init__(self, records: Iterable[dict[str, Any]]) -> None:
        memory, ends = bytearray(), []
        for one in records:
            memory += pickle.dumps(one)
            ends.append(len(memory))
        self._memory, self._ends = memoryview(memory), np.array(ends)

    def __len__(self) -> int:
        return len(self._ends)

    def categories(self, index: int) -> list[int]:
        start = self._ends[index - 1] if index else 0
        record = pickle.loads(self._memory[start : self._ends[index]])
        return [instance["category"] for instance in record["instances"]]


def count_images(records: Records) -> Counter[int]:
    """Return the number of images of each category."""
    images_with: Counter[int] = Counter()
    for index in range(len(records)):
        images_with.update(set(records.categories(index)))
    return images_with


def loops(records: Records) -> list[float]:
    """Return the repeat factor of each image, by the rule, image by image."""
    factor = {
        category: max(1.0, math.sqrt(THRESHOLD / (count / len(records))))
        for category, count in count_images(records).items()
    }
    return [
        max((factor[category] for category in set(records.categories(index))), default=1.0)
        for index in range(len(records))
    ]


def record(image: int, boxes: list[list[float]], categories: list[int]) -> dict[str, Any]:
    """Return path, size and instances of an image; each instance with its box as corners."""
    instances = [
        {"ignore": 0, "box": box, "category": category}
        for box, category in zip(boxes, categories, strict=True)
    ]
    return {
        "path": f"images/{image:012d}.jpg",
        "id": image,
        "height": SIDE,
        "width": SIDE,
        "instances": instances,
    }


def records_of(labels: Labels) -> Iterator[dict[str, Any]]:
    """Yield the record of each image."""
    for index in range(len(labels)):
        image = labels.image(index)
        yield record(index, image.boxes_N4.tolist(), image.categories_N.tolist())


def _with_polygons(rng: np.random.Generator, labels: Labels) -> Iterator[dict[str, Any]]:
    for one in records_of(labels):
        polygons = rng.uniform(0, SIDE, (len(one["instances"]), 1, 2 * POLYGON_POINTS)).round(2).tolist()
        for instance, polygon in zip(one["instances"], polygons, strict=True):
            instance["polygon"] = polygon
        yield one


def _read_coco(path: str) -> Iterator[dict[str, Any]]:
    with contextlib.redirect_stdout(io.StringIO()):
        coco = COCO(path)
    for image in sorted(coco.getImgIds()):
        annotations = coco.imgToAnns[image]
        corners = []
        for annotation in annotations:
            x, y, width, height = annotation["bbox"]
            corners.append([x, y, x + width, y + height])
        yield record(image, corners, [annotation["category_id"] for annotation in annotations])


def _write_coco(folder: str, labels: Labels) -> str:
    images_N = labels.image_rows().tolist()
    categories_N = labels.categories_N.tolist()
    document = {
        "images": [
            {"id": image, "file_name": f"{key}.jpg", "width": SIDE, "height": SIDE}
            for image, key in enumerate(keys_of(0, len(labels)))
        ],
        "categories": [{"id": number, "name": name} for number, name in enumerate(CLASSES)],
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
