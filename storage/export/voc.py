"""Pascal VOC: an XML file an image.

In: labeled images. Out: `Annotations/NAME.xml`, `ImageSets/Main/trainval.txt` with the names of the labeled
images, `images.csv` with their ids, and `JPEGImages/` for the image files. VOC counts pixels from 1 and includes
the last one: left and top are one more than here, right and bottom the same. Decimals are kept, and each object
has a `confidence`, an element that VOC's own tools pass over.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from xml.sax.saxutils import escape

import numpy as np

from storage.export.header import ExportHeader
from storage.export.labeled_images import LabeledImages
from storage.export.names import inside, listed, stem_of
from storage.export.text import exact_decimals, joined, names, rounded, shortest

DIGITS = 6
SIDES = ("xmin", "ymin", "xmax", "ymax")
FIRST_PIXEL = np.array([1.0, 1.0, 0.0, 0.0])


def write_voc(folder: Path, batches: Iterable[LabeledImages], header: ExportHeader) -> None:
    """Write annotation files and their list."""
    (folder / "JPEGImages").mkdir(exist_ok=True)
    with inside(folder, "ImageSets/Main/trainval.txt").open("w", encoding="utf-8") as image_list:
        for batch in listed(batches, folder):
            objects, offsets_B1 = _objects(batch, header), batch.labels.offsets_B1.tolist()
            for index, name in enumerate(batch.file_names):
                head = _head(name, batch.sizes[index].tolist(), header)
                text = head + "".join(objects[offsets_B1[index] : offsets_B1[index + 1]]) + "</annotation>\n"
                inside(folder / "Annotations", f"{stem_of(name)}.xml").write_text(text, encoding="utf-8")
            image_list.writelines(f"{stem_of(name)}\n" for name in batch.file_names)


def _head(name: str, size: list[int], header: ExportHeader) -> str:
    height, width = size
    return (
        "<annotation>\n"
        f"  <folder>JPEGImages</folder>\n  <filename>{escape(name)}</filename>\n"
        f"  <source><database>{escape(header.dataset)}</database>"
        f"<annotation>{escape(header.model_version)}</annotation></source>\n"
        f"  <size><width>{width}</width><height>{height}</height><depth>3</depth></size>\n"
        "  <segmented>0</segmented>\n"
    )


def _objects(batch: LabeledImages, header: ExportHeader) -> list[str]:
    labels = batch.labels
    corners_N4 = exact_decimals(labels.boxes_N4) + FIRST_PIXEL
    classes = tuple(escape(name) for name in header.classes)
    sides = [
        part
        for side, name in enumerate(SIDES)
        for part in (f"<{name}>", rounded(corners_N4[:, side], DIGITS), f"</{name}>")
    ]
    return joined(
        *("  <object>\n    <name>", names(classes, labels.categories_N), "</name><pose>Unspecified</pose>"),
        "<truncated>0</truncated><difficult>0</difficult>",
        *("<confidence>", shortest(labels.scores_N), "</confidence>\n    <bndbox>", *sides),
        "</bndbox>\n  </object>\n",
    )
