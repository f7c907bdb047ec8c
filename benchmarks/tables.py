"""Label tables of any size to measure on: long-tailed classes, boxes without meaning, no pixels.

In: a folder, how many images, how many boxes each on average. Out: a data set with its truth, or with a complete
round of pseudo labels, as `mixpl shard` and `mixpl label` leave them but for the tar files, which no query opens.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from storage import files
from storage.dataset.dataset import IMAGE_SCHEMA, IMAGES_FILE, Dataset
from storage.labels import Labels
from storage.rounds.round import RoundInfo, open_round, round_path
from storage.tables.label_store import LabelStore
from storage.tables.label_table import label_table
from storage.tables.truth_table import truth_table

NUM_CLASSES = 80
CLASSES = tuple(f"class {number}" for number in range(NUM_CLASSES))
SIDE = 480
SCORE_THRESHOLD = 0.4


def random_labels(rng: np.random.Generator, num_images: int, num_boxes: int) -> Labels:
    """Return boxes spread over the images at random, the k-th class 1 / k as often as the first, any score."""
    counts = rng.multinomial(num_boxes, np.full(num_images, 1 / num_images))
    shares = 1 / np.arange(1, NUM_CLASSES + 1)
    corners_N2 = rng.integers(0, SIDE - 80, (num_boxes, 2))
    boxes_N4 = np.concatenate([corners_N2, corners_N2 + rng.integers(5, 80, (num_boxes, 2))], axis=1)
    return Labels(
        boxes_N4=boxes_N4.astype(np.float32),
        categories_N=rng.choice(NUM_CLASSES, num_boxes, p=shares / shares.sum()).astype(np.int32),
        scores_N=rng.integers(5, 101, num_boxes).astype(np.float32) / np.float32(100),
        offsets_B1=np.concatenate([[0], np.cumsum(counts)]).astype(np.int64),
    )


def keys_of(first: int, num_images: int) -> list[str]:
    """Return the keys of images numbered from `first`."""
    return [f"{image:012d}" for image in range(first, first + num_images)]


def write_labeled(root: str, shards: Iterator[Labels]) -> Dataset:
    """Write a labeled data set, one truth table for each element."""
    truth = LabelStore(files.join(root, "ground_truth"), num_classes=NUM_CLASSES)
    counts = []
    for number, labels in enumerate(shards):
        areas_N = np.prod(labels.boxes_N4[:, 2:] - labels.boxes_N4[:, :2], axis=1, dtype=np.float64)
        table = truth_table(_table(sum(counts), labels), areas_N=areas_N, crowds=Labels.empty(len(labels)))
        truth.write(_stem(number), table, {})
        counts.append(len(labels))
    return _write_head(root, counts, labeled=True)


def write_round(root: str, rounds: str, shards: Iterator[Labels]) -> Dataset:
    """Write an unlabeled data set and, below `rounds`, a complete round of labels, one table for each element."""
    round_ = open_round(round_path(rounds, 1))
    counts, num_boxes = [], 0
    for number, labels in enumerate(shards):
        round_.labels(num_classes=NUM_CLASSES).write(_stem(number), _table(sum(counts), labels, step=1), {})
        counts.append(len(labels))
        num_boxes += len(labels.boxes_N4)
    dataset = _write_head(root, counts, labeled=False)
    info = RoundInfo(
        number=1,
        dataset_name=dataset.name,
        dataset_root=root,
        dataset_hash=dataset.hash,
        classes=CLASSES,
        score_threshold=SCORE_THRESHOLD,
        num_images=sum(counts),
        num_boxes=num_boxes,
        seconds=0.0,
        provenance={},
    )
    round_.finish(info)
    return dataset


def _table(first: int, labels: Labels, *, step: int | None = None) -> pa.Table:
    numbers = np.arange(first, first + len(labels))
    sizes_B2 = np.full((len(labels), 2), SIDE)
    return label_table(keys_of(first, len(labels)), numbers, sizes_B2, labels, step=step)


def _write_head(root: str, counts: list[int], *, labeled: bool) -> Dataset:
    num_images = sum(counts)
    keys = pa.array(keys_of(0, num_images))
    shards = [f"{_stem(number)}.tar" for number in range(len(counts))]
    sides = np.full(num_images, SIDE, np.int32)
    columns = {
        "key": keys,
        "image_id": np.arange(num_images),
        "file_name": keys,
        "shard": np.repeat(np.array(shards, object), counts),
        "offset": np.zeros(num_images, np.int64),
        "size": np.zeros(num_images, np.int64),
        "width": sides,
        "height": sides,
        "sha256": pa.repeat("", num_images),
        "split": pa.nulls(num_images, pa.string()),
    }
    Path(root).mkdir(parents=True, exist_ok=True)
    pq.write_table(pa.table(columns, schema=IMAGE_SCHEMA), files.join(root, IMAGES_FILE))
    name = root.rsplit("/", 1)[-1]
    dataset = Dataset(
        root=root,
        name=name,
        classes=CLASSES,
        category_ids=tuple(range(NUM_CLASSES)),
        num_images=num_images,
        num_boxes=0 if labeled else None,  # nothing here asks for it
        labeled=labeled,
        has_hidden_truth=False,
        source={},
        split=None,
        shards=tuple(shards),
        hash=name,
    )
    dataset.write()
    return dataset


def _stem(number: int) -> str:
    return f"shard-{number:06d}"
