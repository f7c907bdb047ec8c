"""YOLO txt: a file an image, a line a box: class index, centre, width and height as shares of the image, score.

In: labeled images. Out: `labels/NAME.txt` beside `images/NAME.jpg`, `data.yaml` with the classes, `images.txt` with
the labeled images for trainers, `images.csv` with their ids. An image labeled as empty has an empty file, one not
labeled has none.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path

from storage.export.header import ExportHeader
from storage.export.image_files import stem_of, write_image_files
from storage.export.labeled_images import LabeledImages
from storage.readers.yolo_labels import label_path


def write_yolo(folder: Path, batches: Iterable[LabeledImages], header: ExportHeader, *, scores: bool) -> None:
    """Write label files; without scores the lines have the five columns that trainers want."""
    (folder / "data.yaml").write_text(_data_yaml(header), encoding="utf-8")
    names = write_image_files(folder, batches, "yolo", _label_file, scores=scores)
    (folder / "images.txt").write_text("".join(f"./images/{name}\n" for name in names), encoding="utf-8")


def _label_file(file_name: str) -> str:
    return label_path(f"images/{stem_of(file_name)}.txt")


def _data_yaml(header: ExportHeader) -> str:
    names = "".join(f"  {index}: {_quoted(name)}\n" for index, name in enumerate(header.classes))
    return (
        f"# {_quoted(header.description)}\n"
        "train: images.txt  # the labeled images, those without a box too\n"
        "val: images.txt  # replace by images of known truth\n"
        f"nc: {len(header.classes)}\n"
        f"names:\n{names}"
    )


def _quoted(text: str) -> str:
    # YAML reads it as JSON does, where every character is printable
    return json.dumps(text, ensure_ascii=not text.isprintable())
