"""A finished round over a few images, with names and classes that are hard to write."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from storage.dataset.dataset import Dataset
from storage.dataset.write_dataset import write_dataset
from storage.export.read_round import LabelSource
from storage.labels import Labels
from storage.readers.coco import read_coco
from storage.rounds.round import open_round, round_path
from storage.tables.label_table import label_table
from tests.rounds import round_info

CLASSES = ((7, 'disk "a"'), (3, "ring & <b>"), (5, "star: é"))
THRESHOLD = 0.5
NOT_LABELED = 30


def random_labels(
    rng: np.random.Generator, sizes_B2: list[tuple[int, int]], *, num_classes: int, most: int
) -> Labels:
    """Boxes within images of (height, width), none in every third image."""
    parts = []
    for index, (height, width) in enumerate(sizes_B2):
        number = 0 if index % 3 == 2 else int(rng.integers(1, most + 1))
        corners = rng.uniform(0, 1, (number, 2, 2)) * (width, height)
        boxes_N4 = np.sort(corners, axis=1).reshape(-1, 4)
        parts.append(
            Labels.of_image(boxes_N4, rng.integers(0, num_classes, number), rng.uniform(0.05, 1, number))
        )
    return Labels.concatenate(parts)


@pytest.fixture(scope="session")
def dataset(tiny_coco: Any, tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    root = tmp_path_factory.mktemp("exported")
    document = {key: value for key, value in tiny_coco.document.items() if key != "annotations"}
    document["categories"] = [{"id": number, "name": name} for number, name in CLASSES]
    (root / "tiny.json").write_text(json.dumps(document))
    source = read_coco(str(root / "tiny.json"))
    written = write_dataset(
        str(root / "data"), source, images_root=str(tiny_coco.images), name="data", per_shard=8
    )
    return written.dataset


@pytest.fixture
def source(dataset: Dataset, tmp_path: Path) -> LabelSource:
    return make_round(dataset, tmp_path / "labels", number=1)


def make_round(dataset: Dataset, root: Path, *, number: int, finish: bool = True) -> LabelSource:
    """A round over all images of a data set but `NOT_LABELED`, in several tables."""
    rng = np.random.default_rng(number)
    round_ = open_round(round_path(str(root), number))
    store = round_.labels(num_classes=len(CLASSES))
    images = dataset.images()
    total = 0
    for shard in dataset.shards:
        rows = [row for row in images.to_pylist() if row["shard"] == shard and row["image_id"] != NOT_LABELED]
        sizes = [(row["height"], row["width"]) for row in rows]
        labels = random_labels(rng, sizes, num_classes=len(CLASSES), most=6)
        keys, ids = [row["key"] for row in rows], [row["image_id"] for row in rows]
        store.write(shard.removesuffix(".tar"), label_table(keys, ids, sizes, labels, step=7), {})
        total += len(labels.scores_N)
    info = round_info(
        dataset,
        number=number,
        score_threshold=THRESHOLD,
        num_images=dataset.num_images - 1,
        num_boxes=total,
        provenance={"weights_hash": "0123456789abcdef", "teacher_step": 7},
    )
    if finish:
        round_ = round_.finish(info)
    return LabelSource(round=round_, info=info, dataset=dataset)
