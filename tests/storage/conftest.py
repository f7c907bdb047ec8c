"""A tiny real data set: JPEGs of noise in COCO format, drawn once a session."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

NUM_IMAGES = 30
CLASSES = ((7, "disk"), (3, "ring"), (5, "star"))


@dataclass(frozen=True)
class TinyCoco:
    annotations: Path
    images: Path
    document: dict[str, Any]


@pytest.fixture(scope="session")
def tiny_coco(tmp_path_factory: pytest.TempPathFactory) -> TinyCoco:
    root = tmp_path_factory.mktemp("coco")
    rng = np.random.default_rng(0)
    images, annotations = [], []
    (root / "images" / "sub").mkdir(parents=True)
    for image_id in range(1, NUM_IMAGES + 1):
        width, height = (int(side) for side in rng.integers(40, 80, 2))
        name = f"{'sub/' if image_id % 7 == 0 else ''}{image_id}.jpg"
        pixels = rng.integers(0, 255, (height, width, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(root / "images" / name)
        images.append({"id": image_id, "file_name": name, "width": width, "height": height})
        for _ in range(int(rng.integers(0, 4))):
            category, _ = CLASSES[int(rng.integers(0, 3))]
            x, y, w, h = (round(float(side), 2) for side in rng.uniform(1, 20, 4))
            annotations.append(
                {
                    "id": len(annotations) + 1,
                    "image_id": image_id,
                    "category_id": category,
                    "bbox": [x, y, w, h],
                    "area": round(w * h / 2, 2),
                    "iscrowd": int(len(annotations) % 10 == 9),
                }
            )
    document = {
        "info": {"description": "tiny"},
        "images": images,
        "annotations": annotations,
        "categories": [{"id": number, "name": name} for number, name in CLASSES],
    }
    (root / "tiny.json").write_text(json.dumps(document))
    return TinyCoco(annotations=root / "tiny.json", images=root / "images", document=document)
