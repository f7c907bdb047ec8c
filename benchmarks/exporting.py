"""A round of labels into a COCO results file: as it comes, beside the usual list of dicts and `json.dump`."""

from __future__ import annotations

import json
import shutil
import tempfile
from pathlib import Path

import numpy as np
import pyarrow.dataset

from benchmarks.measure import Result, beside, compare, in_child
from benchmarks.tables import random_labels, write_round
from storage.export.condition import Condition
from storage.export.export import export_labels
from storage.export.source import find_source

NUM_IMAGES = 118_000
BOXES_AN_IMAGE = 10
PER_SHARD = 1000


def run() -> list[Result]:
    rng = np.random.default_rng(0)
    with tempfile.TemporaryDirectory() as folder:
        num_boxes = PER_SHARD * BOXES_AN_IMAGE
        shards = (random_labels(rng, PER_SHARD, num_boxes) for _ in range(NUM_IMAGES // PER_SHARD))
        write_round(f"{folder}/data", f"{folder}/labels", shards)
        name = f"export of {NUM_IMAGES * BOXES_AN_IMAGE / 1e6:.2g} M boxes to COCO results"
        timed = compare(name, lambda: ours(folder), lambda: theirs(folder), bar=2, runs=3)
        peaks = [in_child(function, folder)[1] for function in (ours, theirs)]
        return [timed, beside(f"{name}, peak memory", *peaks, bar=4, unit="MiB")]


def ours(folder: str) -> None:
    out = f"{folder}/ours"
    shutil.rmtree(out, ignore_errors=True)
    export_labels(find_source(folder), out, form="coco-results", condition=Condition("true"))


def theirs(folder: str) -> None:
    files = sorted(str(path) for path in Path(folder, "labels", "round=0001").glob("*.parquet"))
    table = pyarrow.dataset.dataset(files).to_table(columns=["image_id", "boxes", "categories", "scores"])
    results = [
        {
            "image_id": row["image_id"],
            "category_id": category,
            "bbox": [x1, y1, x2 - x1, y2 - y1],
            "score": score,
        }
        for row in table.to_pylist()
        for (x1, y1, x2, y2), category, score in zip(
            row["boxes"], row["categories"], row["scores"], strict=True
        )
    ]
    with Path(folder, "theirs.json").open("w") as file:
        json.dump(results, file)
