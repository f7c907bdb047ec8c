"""Images with what was found in them drawn over, one picture an image.

In: images with their boxes as they are predicted. Out: a folder with a picture of each image under its name,
PNG for PNG and JPEG for all others. Guaranteed: no two images share a picture; drawing goes on beside
predicting, at most one window of images behind it.
"""

from __future__ import annotations

import io
from collections.abc import Iterable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps

from analysis.figures.boxes_on_images import draw_boxes
from pipeline.samples.image_files import ImageFiles
from storage import files
from storage.export.image_files import write_below
from storage.export.labeled_images import LabeledImages
from storage.labels import Labels

THREADS = 2
"""Decoding, drawing and encoding a photograph of 640 x 480 px takes 15 ms; PIL does it beside Python."""
QUALITY = 90
_AS_THEY_ARE = (".jpg", ".jpeg", ".png")


def write_overlays(
    folder: Path, batches: Iterable[LabeledImages], classes: Sequence[str], *, images: ImageFiles
) -> None:
    """Write a picture of every image below the folder; `images` says where their pixels are."""
    with ThreadPoolExecutor(THREADS, thread_name_prefix="overlays") as pool:
        before: list[Future[None]] = []
        try:
            for batch in batches:
                drawn = [
                    pool.submit(_write, folder, images, row, batch.labels.image(at), classes)
                    for at, row in enumerate(batch.images["row"].to_pylist())
                ]
                _wait_for(before)
                before = drawn
            _wait_for(before)
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            raise


def picture_name(name: str) -> str:
    """Return the name of an image's picture: its own where it ends as a picture does, else with `.jpg` behind."""
    return name if name.lower().endswith(_AS_THEY_ARE) else f"{name}.jpg"


def _wait_for(futures: Iterable[Future[None]]) -> None:
    for future in futures:
        future.result()


def _write(folder: Path, images: ImageFiles, row: int, labels: Labels, classes: Sequence[str]) -> None:
    with Image.open(io.BytesIO(files.read_bytes(images.locations[row]))) as opened:
        upright = ImageOps.exif_transpose(opened).convert("RGB")
    picture = Image.fromarray(draw_boxes(np.asarray(upright), labels, classes))
    name = picture_name(images.names[row])
    buffer = io.BytesIO()
    if name.lower().endswith(".png"):
        picture.save(buffer, "PNG")
    else:
        picture.save(buffer, "JPEG", quality=QUALITY)
    write_below(folder, name, buffer.getvalue())
