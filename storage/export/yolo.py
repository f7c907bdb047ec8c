"""YOLO txt: a file an image, a line a box: class index, centre, width and height as shares of the image, score.

In: labeled images. Out: `labels/NAME.txt` beside `images/NAME.jpg`, `data.yaml` with the classes, `images.txt` with
the labeled images for trainers, `images.csv` with their ids. An image labeled as empty has an empty file, one not
labeled has none. Nine digits: less than 1e-5 pixels of an image of 10,000.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import numpy as np

from storage.export.header import ExportHeader
from storage.export.labeled_images import LabeledImages
from storage.export.names import inside, listed, stem_of
from storage.export.text import exact_decimals, joined, quoted, rounded, shortest
from storage.readers.yolo import label_path

DIGITS = 9


def write_yolo(folder: Path, batches: Iterable[LabeledImages], header: ExportHeader, *, scores: bool) -> None:
    """Write label files; without scores the lines have the five columns that trainers want."""
    (folder / "data.yaml").write_text(_data_yaml(header), encoding="utf-8")
    with (folder / "images.txt").open("w", encoding="utf-8") as image_list:
        for batch in listed(batches, folder):
            lines, offsets_B1 = _lines(batch, scores=scores), batch.labels.offsets_B1.tolist()
            for index, name in enumerate(batch.file_names):
                text = "".join(lines[offsets_B1[index] : offsets_B1[index + 1]])
                inside(folder, label_path(f"images/{stem_of(name)}.txt")).write_text(text, encoding="utf-8")
            image_list.writelines(f"./images/{name}\n" for name in batch.file_names)


def _lines(batch: LabeledImages, *, scores: bool) -> list[str]:
    labels = batch.labels
    sizes_N2 = np.repeat(batch.sizes[:, ::-1], labels.counts(), axis=0)
    exact_N4 = exact_decimals(labels.boxes_N4)
    centres_N2 = (exact_N4[:, :2] + exact_N4[:, 2:]) / 2 / sizes_N2
    sides_N2 = (exact_N4[:, 2:] - exact_N4[:, :2]) / sizes_N2
    numbers = np.concatenate([centres_N2, sides_N2], axis=1)
    columns = [rounded(numbers[:, column], DIGITS) for column in range(4)]
    if scores:
        columns.append(shortest(labels.scores_N))
    return joined(shortest(labels.categories_N), *(part for text in columns for part in (" ", text)), "\n")


def _data_yaml(header: ExportHeader) -> str:
    names = "".join(f"  {index}: {quoted(name)}\n" for index, name in enumerate(header.classes))
    return (
        f"# {quoted(header.description)}\n"
        "train: images.txt  # the labeled images, those without a box too\n"
        "val: images.txt  # replace by images of known truth\n"
        f"nc: {len(header.classes)}\n"
        f"names:\n{names}"
    )
