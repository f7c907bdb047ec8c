"""COCO files: annotations with scores, or the list of results that pycocotools' `loadRes` takes.

In: labeled images. Out: `annotations.json` (with FiftyOne's name `labels.json`): images, categories, and
annotations that carry a `score`; or `results.json`, and beside it `images.json` with the images and categories,
because a list of results cannot say that an image was labeled as empty. Image and category ids are those of the
annotation file that the data set was made from.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterable
from pathlib import Path
from typing import IO, Any

import pyarrow as pa

from storage.export.header import ExportHeader
from storage.export.labeled_images import LabeledImages
from storage.export.queries import copy_images, copy_labels


def write_annotations(path: Path, batches: Iterable[LabeledImages], header: ExportHeader) -> None:
    """Write one COCO annotation file."""
    part = path.with_suffix(".part")
    images = copy_labels("coco_annotations", batches, part, category_ids=list(header.category_ids))
    with path.open("wb") as file:
        file.write(b'{"annotations": ')
        _move_into(file, part)
        file.write(b",\n")
        _finish(file, part, images, header)


def write_results(folder: Path, batches: Iterable[LabeledImages], header: ExportHeader) -> None:
    """Write `results.json` and `images.json`."""
    ids = list(header.category_ids)
    images = copy_labels("coco_results", batches, folder / "results.json", category_ids=ids)
    with (folder / "images.json").open("wb") as file:
        file.write(b"{")
        _finish(file, folder / "images.part", images, header)


def _finish(file: IO[bytes], part: Path, images: pa.Table, header: ExportHeader) -> None:
    """Write all that a COCO file has beside annotations, and its end."""
    copy_images("coco_images", images, part)
    file.write(b'"images": ')
    _move_into(file, part)
    rest: dict[str, Any] = {
        "info": {"description": header.description, "model_version": header.model_version},
        "licenses": [],
        "categories": [
            {"id": category_id, "name": name, "supercategory": ""}
            for category_id, name in zip(header.category_ids, header.classes, strict=True)
        ],
    }
    file.write(f",\n{json.dumps(rest, ensure_ascii=False, indent=1)[1:]}\n".encode())


def _move_into(file: IO[bytes], part: Path) -> None:
    with part.open("rb") as source:
        shutil.copyfileobj(source, file, 1 << 20)
    part.unlink()
