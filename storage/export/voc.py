"""Pascal VOC: an XML file an image.

In: labeled images. Out: `Annotations/NAME.xml`, `ImageSets/Main/trainval.txt` with the names of the labeled
images, `images.csv` with their ids, and `JPEGImages/` for the image files. Decimals are kept, and each object has a
`confidence`, an element that VOC's own tools pass over.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from xml.sax.saxutils import escape

from storage.export.header import ExportHeader, xml_text
from storage.export.image_files import stem_of, write_below, write_image_files
from storage.export.labeled_images import LabeledImages


def write_voc(folder: Path, batches: Iterable[LabeledImages], header: ExportHeader) -> None:
    """Write annotation files and their list."""
    (folder / "JPEGImages").mkdir(exist_ok=True)
    names = write_image_files(
        folder,
        batches,
        "voc",
        lambda name: f"Annotations/{stem_of(name)}.xml",
        database=escape(xml_text(header.dataset)),
        model_version=escape(xml_text(header.model_version)),
        classes=[escape(xml_text(name)) for name in header.classes],
    )
    listed = "".join(f"{stem_of(name)}\n" for name in names)
    write_below(folder, "ImageSets/Main/trainval.txt", listed.encode())
