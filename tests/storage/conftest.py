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


@pytest.fixture
def voc(tmp_path: Path) -> Path:
    """A VOCdevkit of two years: 2007 with lists trainval and test, 2012 with trainval."""
    root = tmp_path / "VOCdevkit"
    for year, lists in (
        ("VOC2007", {"trainval": ["000005", "000007"], "test": ["000009"]}),
        ("VOC2012", {"trainval": ["2008_000002"]}),
    ):
        for folder in ("Annotations", "ImageSets/Main", "JPEGImages"):
            (root / year / folder).mkdir(parents=True)
        for subset, names in lists.items():
            (root / year / f"ImageSets/Main/{subset}.txt").write_text("".join(f"{name}\n" for name in names))
            for name in names:
                Image.new("RGB", (50, 40)).save(root / year / f"JPEGImages/{name}.jpg")
                write_voc_annotation(
                    root / year, name, [("dog", (1, 1, 50, 40), 0), ("cat", (11, 6, 20, 25), 1)]
                )
    return root


def write_voc_annotation(
    folder: Path, name: str, objects: list[tuple[str, tuple[float, ...], int]], *, head: str = ""
) -> None:
    body = "".join(
        f"<object><name>{kind}</name><difficult>{difficult}</difficult><bndbox>"
        + "".join(
            f"<{side}>{value}</{side}>"
            for side, value in zip(("xmin", "ymin", "xmax", "ymax"), box, strict=True)
        )
        + "</bndbox><part><name>head</name><bndbox><xmin>2</xmin></bndbox></part></object>"
        for kind, box, difficult in objects
    )
    size = head or "<size><width>50</width><height>40</height><depth>3</depth></size>"
    (folder / f"Annotations/{name}.xml").write_text(
        f"<annotation><filename>{name}.jpg</filename>{size}{body}</annotation>"
    )


@pytest.fixture
def write_voc() -> Any:
    return write_voc_annotation


@pytest.fixture
def yolo(tmp_path: Path) -> Path:
    """A YOLO data set: data.yaml, images/train and images/val with labels beside; a.jpg and c.jpg have boxes."""
    root = tmp_path / "yolo"
    for subset, names in (("train", "abc"), ("val", "d")):
        (root / "images" / subset).mkdir(parents=True)
        (root / "labels" / subset).mkdir(parents=True)
        for name in names:
            Image.new("RGB", (50, 40)).save(root / f"images/{subset}/{name}.jpg")
    (root / "labels/train/a.txt").write_text("0 0.5 0.5 0.2 0.5\n1 0.1 0.25 0.2 0.5 0.75\n")
    (root / "labels/train/c.txt").write_text("1 0.2 0.1 0.6 0.1 0.4 0.9\n")
    (root / "data.yaml").write_text("path: .\ntrain: images/train\nval: images/val\nnames: [disk, ring]\n")
    return root
