"""Import of a COCO-size annotation file into a label table: ours beside pycocotools and Python loops.

118,000 images with 860,000 boxes, once with polygons (25 points a box: about as many bytes as train2017), and once
with boxes alone, which misses the first bar and just meets the second. Ours is `read_coco`, which also checks every
box and hashes the file, and the truth table of all images. Theirs is `COCO(path)` and the usual loops: an image's
annotations, corners instead of sides, class indices, lists into an Arrow table. Each runs in a fresh process, three
times in turn; seconds are the medians, memory the largest peak.
"""

from __future__ import annotations

import contextlib
import io
import statistics
import tempfile
import time
from pathlib import Path

import numpy as np
import pyarrow as pa

from benchmarks.measure import Result, beside, in_child
from benchmarks.tables import CLASSES, SIDE, keys_of, random_labels
from storage.boxes import xyxy_to_xywh
from storage.readers.coco import read_coco
from storage.tables.label_table import label_table
from storage.tables.schemas import LABEL_SCHEMA
from storage.tables.truth_table import truth_table

NUM_IMAGES, NUM_BOXES, POLYGON_POINTS, RUNS = 118_000, 860_000, 25, 3
Check = tuple[int, int, float]


def run() -> list[Result]:
    """Compare both on two files."""
    results = []
    with tempfile.TemporaryDirectory() as folder:
        files = (("with polygons", POLYGON_POINTS, (5, 3)), ("boxes only", 0, (5, 3)))
        for name, points, bars in files:
            path = Path(folder) / "annotations.json"
            _write(path, points)
            megabytes = path.stat().st_size // 10**6
            results += _compare(str(path), f"import, {name}, {megabytes} MB", bars)
    return results


def ours(path: str) -> tuple[float, Check]:
    """Return the CPU seconds of our import, and what came out."""
    start = time.process_time()
    source = read_coco(path)
    assert source.truth is not None
    keys = keys_of(0, len(source))
    table = truth_table(
        label_table(keys, source.image_ids, source.sizes, source.truth.labels),
        areas_N=source.truth.areas,
        crowds=source.truth.crowds,
    )
    return time.process_time() - start, _check(table)


def theirs(path: str) -> tuple[float, Check]:
    """Return the same of pycocotools and loops."""
    from pycocotools.coco import COCO

    start = time.process_time()
    with contextlib.redirect_stdout(io.StringIO()):
        coco = COCO(path)
    class_of = {number: index for index, number in enumerate(sorted(coco.getCatIds()))}
    rows: dict[str, list[object]] = {name: [] for name in (*LABEL_SCHEMA.names, "areas")}
    for image_id in coco.getImgIds():
        image, entries = coco.imgs[image_id], coco.imgToAnns[image_id]
        corners = [[x, y, x + width, y + height] for x, y, width, height in (one["bbox"] for one in entries)]
        values = {
            "key": f"{image_id:012d}",
            "image_id": image_id,
            "width": image["width"],
            "height": image["height"],
            "boxes": corners,
            "categories": [class_of[one["category_id"]] for one in entries],
            "scores": [1.0] * len(entries),
            "step": None,
            "areas": [one["area"] for one in entries],
        }
        for name, value in values.items():
            rows[name].append(value)
    kinds = {field.name: field.type for field in LABEL_SCHEMA} | {"areas": pa.list_(pa.float64())}
    table = pa.table({name: pa.array(column, kinds[name]) for name, column in rows.items()})
    return time.process_time() - start, _check(table)


def _check(table: pa.Table) -> Check:
    """Return numbers that tell one table from another."""
    boxes = table["boxes"].combine_chunks().flatten().flatten().to_numpy(zero_copy_only=False)
    categories = table["categories"].combine_chunks().flatten().to_numpy()
    return len(table), int(categories.sum()), float(boxes.sum(dtype=np.float64))


def _compare(path: str, name: str, bars: tuple[float, float]) -> list[Result]:
    seconds: tuple[list[float], list[float]] = ([], [])
    peaks = [0.0, 0.0]
    checks = set()
    for _ in range(RUNS):
        for side, function in enumerate((ours, theirs)):
            (taken, check), peak = in_child(function, path)
            seconds[side].append(taken)
            peaks[side] = max(peaks[side], peak)
            checks.add(check)
    assert len(checks) == 1, "both give the same boxes"
    medians = [statistics.median(taken) for taken in seconds]
    return [
        beside(name, medians[0], medians[1], bar=bars[0], unit="CPU s"),
        beside(f"{name}, peak memory", peaks[0], peaks[1], bar=bars[1], unit="MiB"),
    ]


def _write(path: Path, points: int) -> None:
    rng = np.random.default_rng(0)
    labels = random_labels(rng, NUM_IMAGES, NUM_BOXES)
    polygons = [str([rng.uniform(0, SIDE, 2 * points).round(2).tolist()]) for _ in range(500)]
    images_N = np.repeat(np.arange(NUM_IMAGES), labels.counts()).tolist()
    columns = (images_N, labels.categories_N.tolist(), xyxy_to_xywh(labels.boxes_N4).tolist())
    with path.open("w") as file:
        file.write('{"images": [')
        file.write(", ".join(_image(number) for number in range(NUM_IMAGES)))
        categories = ", ".join(f'{{"id": {number}, "name": "{name}"}}' for number, name in enumerate(CLASSES))
        file.write(f'], "categories": [{categories}], "annotations": [')
        for number, (image, category, box) in enumerate(zip(*columns, strict=True)):
            polygon = f'"segmentation": {polygons[number % len(polygons)]}, ' if points else ""
            file.write(
                f'{", " if number else ""}{{{polygon}"area": {box[2] * box[3] * 0.7}, "iscrowd": 0, '
                f'"image_id": {image}, "bbox": {box}, "category_id": {category}, "id": {number + 1}}}'
            )
        file.write("]}")


def _image(number: int) -> str:
    """Return an image record with what COCO has in one."""
    name = f"{number:012d}.jpg"
    return (
        f'{{"license": 3, "file_name": "{name}", "coco_url": "http://images.example/train2017/{name}", '
        f'"height": {SIDE}, "width": {SIDE}, "date_captured": "2013-11-14 11:18:45", '
        f'"flickr_url": "http://farm.example/8186/{name}", "id": {number}}}'
    )
