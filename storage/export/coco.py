"""COCO files: annotations with scores, or the list of results that pycocotools' `loadRes` takes.

In: labeled images. Out: `annotations.json` (with FiftyOne's name `labels.json`): images, categories, and
annotations that carry a `score`; or `results.json`, and beside it `images.json` with the images and categories,
because a list of results cannot say that an image was labeled as empty. Written as it comes, box by box; image
and category ids are those of the annotation file that the data set was made from.
"""

from __future__ import annotations

import json
import shutil
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from storage import boxes
from storage.export.header import ExportHeader
from storage.export.labeled_images import LabeledImages
from storage.export.text import exact_decimals, joined, quoted, rounded, shortest

DIGITS = 6
"""Behind the point, for widths and heights; corners are exact."""


def write_annotations(path: Path, batches: Iterable[LabeledImages], header: ExportHeader) -> None:
    """Write one COCO annotation file."""
    num_boxes = 0
    with _images_kept_back() as images, path.open("w", encoding="utf-8") as file:
        file.write('{"annotations": [')
        for batch in batches:
            ids_N = np.arange(1, len(batch.labels.boxes_N4) + 1) + num_boxes
            _write_entries(file, _annotations(batch, ids_N, header), first=num_boxes == 0)
            num_boxes += len(ids_N)
            images.add(batch)
        file.write("\n],\n")
        images.finish(file, header)


def write_results(folder: Path, batches: Iterable[LabeledImages], header: ExportHeader) -> None:
    """Write `results.json` and `images.json`."""
    num_boxes = 0
    with _images_kept_back() as images, (folder / "results.json").open("w", encoding="utf-8") as file:
        file.write("[")
        for batch in batches:
            _write_entries(file, _results(batch, header), first=num_boxes == 0)
            num_boxes += len(batch.labels.boxes_N4)
            images.add(batch)
        file.write("\n]\n")
        with (folder / "images.json").open("w", encoding="utf-8") as list_file:
            list_file.write("{")
            images.finish(list_file, header)


def _annotations(batch: LabeledImages, ids_N: npt.NDArray[np.int64], header: ExportHeader) -> list[str]:
    exact_N4 = exact_decimals(batch.labels.boxes_N4)
    return joined(
        *('{"id": ', shortest(ids_N), ", "),
        *_result_fields(batch, header),
        *(', "area": ', rounded(boxes.area(exact_N4), DIGITS), ', "iscrowd": 0}'),
    )


def _results(batch: LabeledImages, header: ExportHeader) -> list[str]:
    return joined("{", *_result_fields(batch, header), "}")


def _result_fields(batch: LabeledImages, header: ExportHeader) -> Iterator[str | pa.Array]:
    labels = batch.labels
    exact_N4 = exact_decimals(labels.boxes_N4)
    xywh_N4 = boxes.xyxy_to_xywh(exact_N4)
    category_ids = np.array(header.category_ids, np.int64)[labels.categories_N]
    yield from ('"image_id": ', shortest(np.repeat(batch.image_ids, labels.counts())))
    yield from (', "category_id": ', shortest(category_ids), ', "bbox": [')
    for side in range(4):
        yield from (rounded(xywh_N4[:, side], DIGITS), ", " if side < 3 else "]")
    yield from (', "score": ', shortest(labels.scores_N))


def _write_entries(file: IO[str], entries: list[str], *, first: bool) -> None:
    if entries:
        file.write("\n" if first else ",\n")
        file.write(",\n".join(entries))


class _Images:
    """The image records, on disk until the annotations before them are written."""

    def __init__(self, file: IO[str]) -> None:
        self._file = file
        self._count = 0

    def add(self, batch: LabeledImages) -> None:
        """Keep the records of some images."""
        triples = zip(batch.image_ids.tolist(), batch.file_names, batch.sizes.tolist(), strict=True)
        records = [
            f'{{"id": {image_id}, "file_name": {quoted(name)}, "width": {width}, "height": {height}}}'
            for image_id, name, (height, width) in triples
        ]
        _write_entries(self._file, records, first=self._count == 0)
        self._count += len(records)

    def finish(self, file: IO[str], header: ExportHeader) -> None:
        """Write all that a COCO file has beside annotations, and its end."""
        file.write('"images": [')
        self._file.seek(0)
        shutil.copyfileobj(self._file, file)
        rest: dict[str, Any] = {
            "info": {"description": header.description, "model_version": header.model_version},
            "licenses": [],
            "categories": [
                {"id": category_id, "name": name, "supercategory": ""}
                for category_id, name in zip(header.category_ids, header.classes, strict=True)
            ],
        }
        file.write("\n],\n" + json.dumps(rest, ensure_ascii=False, indent=1)[1:] + "\n")


@contextmanager
def _images_kept_back() -> Iterator[_Images]:
    with tempfile.TemporaryFile("w+", encoding="utf-8") as file:
        yield _Images(file)
