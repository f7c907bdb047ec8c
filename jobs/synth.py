"""`mixpl synth`: draw the dense shapes benchmark in COCO format.

In: a folder, a preset, a seed. Out: OUT/images/{train,test}/000000.jpg ..., OUT/train.json and OUT/test.json
(written last). Guaranteed: image i of a part depends only on (preset, seed, part, i), so any number of
processes writes the same bytes.
"""

from __future__ import annotations

import io
import json
import os
import time
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Literal

import tyro
from PIL import Image

from jobs.recipes.ranges import require_at_least
from jobs.synthetic.scene import PARTS, SceneSettings, draw_scene
from jobs.synthetic.shapes import SHAPES, Part
from storage import files
from storage.errors import ConfigError, names_location
from storage.json_head import HeadFormat
from storage.worker_pool import spawn_pool

Preset = Literal["tiny", "small", "large"]

SCENES: dict[Preset, SceneSettings] = {
    "tiny": SceneSettings(size=64, num_classes=6, imbalance=30, num_objects=(3, 7), heights=(12, 28)),
    "small": SceneSettings(size=96, num_classes=10, imbalance=50, num_objects=(6, 12), heights=(14, 32)),
    "large": SceneSettings(size=256, num_classes=10, imbalance=50, num_objects=(8, 18), heights=(14, 110)),
}
NUM_IMAGES: dict[Preset, dict[Part, int]] = {
    "tiny": {"train": 400, "test": 150},
    "small": {"train": 1_000, "test": 250},
    "large": {"train": 10_000, "test": 1_000},
}
JPEG_QUALITY = 92
CHUNK = 25  # images a task
DRAWING_VERSION = 1  # raised when the same seed draws something else
NOTE = HeadFormat(kind=dict[str, Any], what="the note of a drawn data set", remedy="remove its folder")


@dataclass(frozen=True, kw_only=True, slots=True)
class SynthConfig:
    """Draw the dense shapes benchmark."""

    out: tyro.conf.Positional[str]
    """Folder to write: train.json, test.json, images/."""
    preset: Preset = "small"
    """tiny: 64 px, 6 classes, 400 train + 150 test images; small: 96 px, 10 classes, 1,000 + 250;
    large: 256 px, 10 classes, 10,000 + 1,000."""
    seed: int = 0
    """Another seed draws other images of the same shape variants."""
    workers: int = 0
    """Processes; 0 means one a core."""

    def __post_init__(self) -> None:
        """Check the numbers."""
        require_at_least(0, self, "seed", "workers")


@dataclass(frozen=True, kw_only=True, slots=True)
class SynthResult:
    """What was drawn."""

    num_images: dict[Part, int]
    num_boxes: dict[Part, int]
    seconds: float


def synth(config: SynthConfig) -> SynthResult:
    """Draw the data set; the two JSON files appear when every image is there.

    Drawing again over the same data set gives the same bytes. Raises ConfigError when the folder holds
    anything else: images of two data sets would lie mixed.
    """
    started = time.perf_counter()
    root = Path(config.out)
    _claim(root, config)
    documents = {part: _draw_part(config, root, part) for part in PARTS}
    for part, document in documents.items():
        files.write_atomic(str(root / f"{part}.json"), json.dumps(document).encode())
    result = SynthResult(
        num_images={part: len(documents[part]["images"]) for part in PARTS},
        num_boxes={part: len(documents[part]["annotations"]) for part in PARTS},
        seconds=time.perf_counter() - started,
    )
    print(_summary(config, result))
    return result


def _claim(root: Path, config: SynthConfig) -> None:
    """Note in OUT/synth.json what is drawn here; refuse a folder that holds something else."""
    location = str(root / "synth.json")
    wanted = {"preset": config.preset, "seed": config.seed, "version": DRAWING_VERSION}
    note = NOTE.read(location)
    if note is not None:
        if note != wanted:
            raise ConfigError(
                f"expected {root} to hold {wanted}, got {note}: remove it or name another folder"
            )
    elif root.exists() and (not root.is_dir() or any(root.iterdir())):
        raise ConfigError(
            f"expected an empty or new folder, got {root} with other files: name another folder"
        )
    NOTE.write(location, wanted)


def _draw_part(config: SynthConfig, root: Path, part: Part) -> dict[str, Any]:
    folder = root / "images" / part
    folder.mkdir(parents=True, exist_ok=True)
    settings, count = SCENES[config.preset], NUM_IMAGES[config.preset][part]
    chunks = [range(first, min(first + CHUNK, count)) for first in range(0, count, CHUNK)]
    draw = partial(_draw_chunk, settings, config.seed, part, str(folder))
    workers = min(config.workers or os.cpu_count() or 1, len(chunks))
    if workers == 1:
        drawn = [truth for chunk in chunks for truth in draw(chunk)]
    else:
        with spawn_pool(workers) as pool:
            drawn = [truth for truths in pool.map(draw, chunks) for truth in truths]
    return _coco(config, settings, part, drawn)


def _draw_chunk(
    settings: SceneSettings, seed: int, part: Part, folder: str, indices: range
) -> list[tuple[list[list[float]], list[int]]]:
    """Write the images of `indices`; return their boxes (xywh) and categories."""
    truths = []
    for index in indices:
        scene = draw_scene(settings, seed=seed, part=part, index=index)
        jpeg = io.BytesIO()  # PIL writes to a file once, and takes a part of the image for all of it
        Image.fromarray(scene.pixels_HW3).save(jpeg, "JPEG", quality=JPEG_QUALITY, subsampling="4:2:0")
        path = Path(folder) / f"{index:06d}.jpg"
        with names_location(str(path)):
            path.write_bytes(jpeg.getbuffer())
        boxes_xywh_N4 = scene.boxes_N4.copy()
        boxes_xywh_N4[:, 2:] -= boxes_xywh_N4[:, :2]
        truths.append((boxes_xywh_N4.tolist(), scene.categories_N.tolist()))
    return truths


def _coco(
    config: SynthConfig, settings: SceneSettings, part: Part, drawn: list[tuple[list[list[float]], list[int]]]
) -> dict[str, Any]:
    """The COCO document of a part; ids start at 1, paths are relative to OUT/images/PART."""
    owners = [
        (number, *truth)
        for number, (boxes, ids) in enumerate(drawn)
        for truth in zip(boxes, ids, strict=True)
    ]
    return {
        "info": {
            "description": f"dense shapes, {part}",
            "version": str(DRAWING_VERSION),
            "preset": config.preset,
            "seed": config.seed,
        },
        "images": [
            {
                "id": number + 1,
                "file_name": f"{number:06d}.jpg",
                "width": settings.size,
                "height": settings.size,
            }
            for number in range(len(drawn))
        ],
        "annotations": [
            {
                "id": annotation + 1,
                "image_id": number + 1,
                "category_id": category + 1,
                "bbox": box,
                "area": box[2] * box[3],
                "iscrowd": 0,
            }
            for annotation, (number, box, category) in enumerate(owners)
        ],
        "categories": [
            {"id": category + 1, "name": name, "supercategory": "shape"}
            for category, name in enumerate(SHAPES[: settings.num_classes])
        ],
    }


def _summary(config: SynthConfig, result: SynthResult) -> str:
    counts = ", ".join(
        f"{result.num_images[part]:,} {part} ({result.num_boxes[part]:,} boxes)" for part in PARTS
    )
    return f"drew {config.preset} with seed {config.seed} in {result.seconds:.1f} s: {counts} -> {config.out}"
