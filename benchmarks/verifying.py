"""`mixpl verify` on real JPEGs of 640 × 480: images per second of one core, beside a plain loop that does less.

A labeled set of 512 images in shards of 64: photo-like pixels (clouds, edges and grain; quality 90), 87 kB each.
Ours opens every tar by its headers, hashes every image, decodes it at 1/8 scale and holds tables, descriptions and
truth against each other; quick leaves the bytes of images out. Theirs reads the same tars with Python's tarfile and
decodes each image in full with Pillow, and compares nothing. Memory is the peak of a fresh process.
"""

from __future__ import annotations

import io
import json
import tarfile
import tempfile
from pathlib import Path

import numpy as np
from PIL import Image

from benchmarks.measure import Result, at_most, compare, in_child
from storage.dataset.write_dataset import write_dataset
from storage.readers.coco import read_coco
from storage.verify.check_dataset import check_dataset

NUM_IMAGES, PER_SHARD, WIDTH, HEIGHT = 512, 64, 640, 480


def run() -> list[Result]:
    """Measure both depths of the check."""
    with tempfile.TemporaryDirectory() as folder:
        root = _write(Path(folder))
        assert ours(root) == NUM_IMAGES
        _, peak = in_child(ours, root)
        scale = 1e3 / NUM_IMAGES
        return [
            compare(
                "verify, full",
                lambda: ours(root),
                lambda: theirs(root),
                bar=1.5,
                scale=scale,
                unit="CPU ms/image",
            ),
            compare(
                "verify, quick",
                lambda: ours(root, quick=True),
                lambda: theirs(root),
                bar=10,
                scale=scale,
                unit="CPU ms/image",
            ),
            at_most("verify, peak memory of 512 images", peak, bar=250, unit="MiB"),
        ]


def ours(root: str, *, quick: bool = False) -> int:
    """Check the set in this process; return how many images were."""
    checked = check_dataset(root, quick=quick, on_shard=lambda _: True)
    assert not checked.findings, checked.findings
    return checked.num_images


def theirs(root: str) -> int:
    """Decode every image of every tar."""
    count = 0
    for path in sorted(Path(root).glob("*.tar")):
        with tarfile.open(path) as tar:
            for member in tar:
                file = tar.extractfile(member)
                assert file is not None
                if member.name.endswith(".jpg"):
                    Image.open(io.BytesIO(file.read())).convert("RGB").load()
                    count += 1
    return count


def _write(folder: Path) -> str:
    (folder / "images").mkdir()
    images, annotations = [], []
    for number in range(NUM_IMAGES):
        _photo(np.random.default_rng(number % 64)).save(folder / "images" / f"{number}.jpg", quality=90)
        images.append({"id": number, "file_name": f"{number}.jpg", "width": WIDTH, "height": HEIGHT})
        annotations += [
            {
                "id": 8 * number + box,
                "image_id": number,
                "category_id": 1,
                "bbox": [9 * box, 5, 60, 80],
                "area": 4800,
            }
            for box in range(8)
        ]
    document = {"images": images, "annotations": annotations, "categories": [{"id": 1, "name": "thing"}]}
    (folder / "all.json").write_text(json.dumps(document))
    source = read_coco(str(folder / "all.json"))
    images_root = str(folder / "images")
    written = write_dataset(
        str(folder / "set"), source, images_root=images_root, name="set", per_shard=PER_SHARD
    )
    return written.dataset.root


def _photo(rng: np.random.Generator) -> Image.Image:
    """Return clouds of several sizes, some flat shapes with hard edges, and grain."""
    pixels_HW3 = np.zeros((HEIGHT, WIDTH, 3))
    for cells in (4, 16, 64):
        cloud = Image.fromarray(rng.integers(0, 255, (cells, cells, 3), np.uint8))
        pixels_HW3 += np.asarray(cloud.resize((WIDTH, HEIGHT), Image.Resampling.BICUBIC)) / 3
    for _ in range(12):
        y, x = rng.integers(0, HEIGHT - 60), rng.integers(0, WIDTH - 60)
        height, width = rng.integers(20, 200, 2)
        pixels_HW3[y : y + height, x : x + width] = rng.integers(0, 255, 3)
    pixels_HW3 += rng.normal(0, 6, pixels_HW3.shape)
    return Image.fromarray(np.clip(pixels_HW3, 0, 255).astype(np.uint8))
