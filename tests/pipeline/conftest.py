"""Small real shard sets: flat coloured rectangles on grey, written by the project's own writer."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from storage.dataset.dataset import Dataset
from storage.dataset.write_dataset import write_dataset
from storage.readers.coco import read_coco

COLOURS = np.array([[255, 0, 0], [0, 255, 0], [0, 0, 255]], np.uint8)
"""Colour of the objects of each class."""
BACKGROUND = 128

DrawSet = Callable[..., Dataset]


def draw_images(
    folder: Path, num_images: int, *, first_id: int, empty: frozenset[int], tiny: frozenset[int]
) -> Any:
    """Draw one or two rectangles an image, PNG so that colours are exact, and return the COCO document."""
    folder.mkdir(parents=True)
    images, annotations = [], []
    for index in range(num_images):
        rng = np.random.default_rng([first_id, index])
        height, width = (24, 20) if index in tiny else rng.integers(40, 64, size=2).tolist()
        pixels = np.full((height, width, 3), BACKGROUND, np.uint8)
        image_id = first_id + index
        name = f"image-{image_id:03d}.png"
        for half in range(0 if index in empty else 2):
            x, y = half * (width // 2) + 2, int(rng.integers(2, height // 3))
            w, h = width // 2 - 4, height // 2
            category = int(rng.integers(len(COLOURS)))
            pixels[y : y + h, x : x + w] = COLOURS[category]
            annotations.append(
                {
                    "id": len(annotations) + 1,
                    "image_id": image_id,
                    "category_id": category + 1,
                    "bbox": [x, y, w, h],
                    "area": w * h,
                    "iscrowd": 0,
                }
            )
        Image.fromarray(pixels).save(folder / name)
        images.append({"id": image_id, "file_name": name, "height": height, "width": width})
    categories = [{"id": index + 1, "name": name} for index, name in enumerate(("red", "green", "blue"))]
    return {"images": images, "annotations": annotations, "categories": categories}


@pytest.fixture
def draw_set(tmp_path: Path) -> DrawSet:
    """Give a function that draws and shards a data set."""

    def draw(
        name: str,
        num_images: int,
        *,
        labeled: bool = False,
        hidden: bool = False,
        per_shard: int = 4,
        first_id: int = 1,
        empty: frozenset[int] = frozenset(),
        tiny: frozenset[int] = frozenset(),
        classes: int = 3,
    ) -> Dataset:
        folder = tmp_path / f"{name}-images"
        document = draw_images(folder, num_images, first_id=first_id, empty=empty, tiny=tiny)
        document["categories"] = document["categories"][:classes]
        document["annotations"] = [a for a in document["annotations"] if a["category_id"] <= classes]
        truth_file, images_file = tmp_path / f"{name}-truth.json", tmp_path / f"{name}.json"
        truth_file.write_text(json.dumps(document))
        del document["annotations"]
        images_file.write_text(json.dumps(document))
        return write_dataset(
            str(tmp_path / name),
            read_coco(str(truth_file if labeled else images_file)),
            images_root=str(folder),
            name=name,
            per_shard=per_shard,
            hidden=read_coco(str(truth_file)) if hidden else None,
        ).dataset

    return draw


def damage(dataset: Dataset, row: int, *, how: bytes = b"\xff\xd8\xff garbage ") -> str:
    """Overwrite the bytes of one image in its shard, length kept, and return its key."""
    table = dataset.images()
    path = Path(dataset.shard_path(table["shard"][row].as_py()))
    data = bytearray(path.read_bytes())
    offset, size = table["offset"][row].as_py(), table["size"][row].as_py()
    data[offset : offset + size] = (how * size)[:size]
    path.write_bytes(bytes(data))
    return str(table["key"][row].as_py())


@pytest.fixture(name="damage")
def damage_fixture() -> Callable[..., str]:
    """Give `damage`, as test modules cannot import this one."""
    return damage
