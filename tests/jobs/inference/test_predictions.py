"""What is found in an image depends on nothing but the image: not on batches, neighbours, shards or their order."""

from __future__ import annotations

import json
from collections.abc import Callable

import numpy as np
import pyarrow as pa
import pytest
import torch
from PIL import Image

from jobs.inference.predictions import PredictSettings, predict_shards, shard_tables
from model.detector import Detector
from model.detectors.build import build_detector
from model.detectors.spec import DetectorName
from pipeline.settings import ViewSettings
from storage.dataset.dataset import Dataset
from storage.dataset.write_dataset import write_dataset
from storage.readers.coco import read_coco
from storage.tables.label_table import table_labels

VIEW = ViewSettings(test_short=32, test_long_max=64)
SIZES = [(64, 64), (40, 80), (64, 64), (80, 40), (50, 64), (64, 50), (64, 64), (40, 80), (64, 90), (70, 64)]
"""(height, width): three padded sizes, and views of several sizes that share one."""
SCORES, BOXES = 1e-6, 1e-3
"""How far scores and pixels may lie apart: the arithmetic of a convolution is ordered by the number of images."""

WriteSet = Callable[..., Dataset]


@pytest.fixture(scope="module")
def write_set(tmp_path_factory: pytest.TempPathFactory) -> WriteSet:
    """Give a function that shards images of mixed sizes in some order, each the same whatever the order."""

    def write(order: list[int], per_shard: int) -> Dataset:
        folder = tmp_path_factory.mktemp("mixed")
        images = []
        for number in order:
            height, width = SIZES[number]
            pixels = np.random.default_rng(number).integers(256, size=(height, width, 3), dtype=np.uint8)
            Image.fromarray(pixels).resize((width, height)).save(folder / f"{number}.png")
            images.append({"id": number, "file_name": f"{number}.png", "height": height, "width": width})
        categories = [{"id": number, "name": name} for number, name in enumerate(("disk", "ring", "star"))]
        (folder / "coco.json").write_text(json.dumps({"images": images, "categories": categories}))
        source = read_coco(str(folder / "coco.json"))
        return write_dataset(
            str(folder / "set"), source, images_root=str(folder), name="mixed", per_shard=per_shard
        ).dataset

    return write


@pytest.fixture(scope="module", params=["fcos-compact", "fasterrcnn-resnet50"])
def detector(request: pytest.FixtureRequest) -> Detector:
    """A detector with drawn weights, whose group norms and borders answer to padding."""
    name: DetectorName = request.param
    torch.manual_seed(0)
    return build_detector(name, num_classes=3, weights="none").eval()


def label(detector: Detector, dataset: Dataset, batch: int) -> pa.Table:
    settings = PredictSettings(view=VIEW, batch=batch)
    batches = predict_shards(detector, dataset, dataset.shards, settings=settings, skipped=[])
    return pa.concat_tables([table for _, table in shard_tables(batches)])


def assert_same_labels(found: pa.Table, expected: pa.Table) -> None:
    """The same images, of each the same boxes in the same order, but for the last digits."""
    assert found["key"].to_pylist() == expected["key"].to_pylist()
    one, other = table_labels(found), table_labels(expected)
    np.testing.assert_array_equal(one.offsets_B1, other.offsets_B1)
    np.testing.assert_array_equal(one.categories_N, other.categories_N)
    np.testing.assert_allclose(one.scores_N, other.scores_N, rtol=0, atol=SCORES)
    np.testing.assert_allclose(one.boxes_N4, other.boxes_N4, rtol=0, atol=BOXES)


def test_batch_sizes_orders_and_shards_change_no_label(detector: Detector, write_set: WriteSet) -> None:
    in_order = write_set(list(range(len(SIZES))), per_shard=6)
    alone = label(detector, in_order, batch=1)
    assert alone["key"].to_pylist() == in_order.images()["key"].to_pylist()
    assert len(table_labels(alone).scores_N) > 10 * len(SIZES)
    for batch in (3, 8, 40):
        assert_same_labels(label(detector, in_order, batch), alone)
    other = label(detector, write_set([7, 2, 9, 0, 4, 8, 1, 6, 3, 5], per_shard=10), batch=4)
    keys = other["key"].to_pylist()
    rows = [keys.index(key) for key in alone["key"].to_pylist()]
    assert_same_labels(other.take(rows), alone)
