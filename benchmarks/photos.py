"""Drawn photographs to measure on: as smooth, as edged and as heavy as real ones, made from a seed.

In: a generator, how many, a size. Out: JPEG files of quality 90, alone or as a data set with boxes. A picture is
noise whose power falls with the frequency as that of photographs does, one field of light and a weaker one for
each channel, and some flat shapes with sharp edges. 640 x 480 px take 135 kB; those of COCO take 160 on
average. White noise would take three times that and make decoding look slow.
"""

from __future__ import annotations

import io
import json
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw

from pipeline.loaders.labeled import LabeledData
from pipeline.loaders.unlabeled import UnlabeledData
from storage.dataset.write_dataset import write_dataset
from storage.readers.coco import read_coco

HEIGHT, WIDTH, QUALITY = 480, 640, 90
FALL = 1.2
"""Amplitude falls as 1 / frequency ** FALL; photographs lie at 0.9 to 1.3."""
NUM_SHAPES = 8
NUM_CLASSES = 80


def photo(rng: np.random.Generator, *, height: int = HEIGHT, width: int = WIDTH) -> tuple[bytes, np.ndarray]:
    """Return the JPEG bytes of a picture and the xywh boxes of its shapes."""
    light, *tints = (_natural_field(rng, height, width) for _ in range(4))
    pixels = np.stack([128 + 50 * light + 8 * tint for tint in tints], axis=-1)
    image = Image.fromarray(np.clip(pixels, 0, 255).astype(np.uint8))
    corners_N2 = rng.uniform(0, 0.7, (NUM_SHAPES, 2)) * (width, height)
    sides_N2 = rng.uniform(0.05, 0.3, (NUM_SHAPES, 2)) * (width, height)
    boxes_N4 = np.concatenate([corners_N2, sides_N2], axis=1).round()
    draw = ImageDraw.Draw(image, "RGBA")
    for x, y, box_width, box_height in boxes_N4.tolist():
        shape = draw.rectangle if rng.random() < 0.5 else draw.ellipse
        shape((x, y, x + box_width, y + box_height), fill=(*rng.integers(256, size=3).tolist(), 160))
    file = io.BytesIO()
    image.save(file, "JPEG", quality=QUALITY)
    return file.getvalue(), boxes_N4


def write_photos(folder: Path, num_images: int, *, seed: int = 0) -> dict[str, object]:
    """Write JPEG files into a folder and return their annotations as a COCO document."""
    folder.mkdir(parents=True)
    images, annotations = [], []
    for image_id in range(1, num_images + 1):
        rng = np.random.default_rng([seed, image_id])
        data, boxes_N4 = photo(rng)
        name = f"{image_id:06d}.jpg"
        (folder / name).write_bytes(data)
        images.append({"id": image_id, "file_name": name, "height": HEIGHT, "width": WIDTH})
        annotations += [
            {
                "id": len(annotations) + index,
                "image_id": image_id,
                "category_id": int(rng.integers(NUM_CLASSES)) + 1,
                "bbox": box,
                "area": box[2] * box[3],
                "iscrowd": 0,
            }
            for index, box in enumerate(boxes_N4.tolist(), 1)
        ]
    categories = [{"id": number + 1, "name": f"class {number}"} for number in range(NUM_CLASSES)]
    return {"images": images, "annotations": annotations, "categories": categories}


def photo_data(root: Path, num_images: int) -> tuple[LabeledData, UnlabeledData]:
    """Write photographs once and return them as labeled and as unlabeled images of a run."""
    document = write_photos(root / "images", num_images)
    sets = []
    for name in ("labeled", "unlabeled"):
        (root / f"{name}.json").write_text(json.dumps(document))
        images = read_coco(str(root / f"{name}.json"))
        sets.append(
            write_dataset(str(root / name), images, images_root=str(root / "images"), name=name).dataset
        )
        document.pop("annotations", None)
    return LabeledData(dataset=sets[0]), UnlabeledData(dataset=sets[1])


def _natural_field(rng: np.random.Generator, height: int, width: int) -> np.ndarray:
    """Return noise of mean 0 and deviation 1 whose amplitude falls as a power of the frequency."""
    spectrum = np.fft.rfft2(rng.standard_normal((height, width)))
    frequencies = np.hypot(np.fft.fftfreq(height)[:, None], np.fft.rfftfreq(width)[None])
    frequencies[0, 0] = np.inf
    field = np.fft.irfft2(spectrum / frequencies**FALL, s=(height, width))
    return field / field.std()
