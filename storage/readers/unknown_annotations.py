"""Annotations among images that no reader knows: such a folder is refused, as it is not unlabeled by itself.

In: a folder that is none of the known layouts. Out: nothing, or a SourceError that names the files, what was looked
for and what to do. A file counts as annotation by its suffix (`.xml`, `.tfrecord`), by its name (`labels.csv`, or
`a.txt` for an image `a.jpg`), or by what its beginning says: boxes, shapes, classes, or numbers beside the names of
images. A licence, a readme, or a table of sources is none.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from storage import files
from storage.errors import SourceError
from storage.readers.folder import IMAGE_SUFFIXES
from storage.readers.text import head_of

LOOKED_FOR = (
    "data.yaml, obj.data or classes.txt (YOLO), XML of VOC or CVAT, JSON of COCO, labelme or Datumaro"
)
MAX_LOOKS = 50
"""Files that are looked into; where there are more they are taken as annotations."""
_SURE = (
    ".xml", ".tfrecord", ".tfrecords", ".record", ".geojson", ".mat", ".pkl", ".names", ".labels",
)  # fmt: skip
_TEXT = (".json", ".jsonl", ".ndjson", ".manifest", ".csv", ".tsv", ".txt", ".data", ".yaml", ".yml")
_NAME = re.compile(
    r"(?i)_?(?:annotations?|labels?|instances|bbox(?:es)?|boxes|detections|obj|classes)(?![a-z])"
)
"""What the names of annotation files begin with."""
_WORDS = (
    rb"bbox|bndbox|box(?:es)?|[xy]_?min|[xy]tl|[xy]1|shapes?|regions?|region_\w+|annotations?|objects?|polygons?|points|"
    rb"segmentation|labels?|label_?name|class(?:es|_?name|_?id)?|categor(?:y|ies)|category_?id|instances|detections"
)
_KEY = re.compile(rb'(?i)"(?:' + _WORDS + rb')"\s*:')
_COLUMN = re.compile(rb'(?i)(?:^|[,;\t])\s*"?(?:' + _WORDS + rb')"?\s*(?=[,;\t\r\n]|$)')
_A_NUMBER = re.compile(rb"(?:^|[,;\t])\s*-?\d")
_YAML_KEY = re.compile(rb"(?m)^(?:names|nc)\s*:")
_NUMBER = rb"-?\d+(?:\.\d+)?(?:[eE][+-]?\d+)?"
_NUMBERS = re.compile(rb"(?<![\w/.-])(?:" + _NUMBER + rb"[\s,;:]+){3}" + _NUMBER + rb"(?![\w/.-])")
"""Four numbers in a row."""
_ALL_NUMBERS = re.compile(rb"\s*(?:" + _NUMBER + rb"[ \t,;]+){3,}" + _NUMBER + rb"\s*(?:\n|\r|$)")
"""A line of nothing but four numbers or more."""
_ADVICE = (
    (rb"<annotations[\s>]", "CVAT's XML is read as annotations.xml in the folder given, or itself with --images"),
    (rb"<annotation[\s>]", "Pascal VOC is read by --format voc"),
    (rb'"shapes"\s*:', "labelme's JSON is read by --format labelme"),
    (rb'"images"\s*:\s*\[', "COCO is read where the file itself is given, with --images"),
    (rb'"regions"\s*:|region_shape_attributes', "export it as COCO from VIA"),
    (rb'"classTitle"\s*:', "export it as COCO or Pascal VOC from Supervisely"),
    (rb"ImageID\s*,", "convert the tables of Open Images to COCO"),
)  # fmt: skip
_ADVICE_OF_SUFFIX = {
    "txt": "YOLO's labels need the names of their classes beside, a line each in classes.txt",
    "yaml": "YOLO's data.yaml is read where it has that name or is given itself",
    "yml": "YOLO's data.yaml is read where it has that name or is given itself",
    "data": "YOLO's labels need the file of class names that it names beside",
}


def refuse_annotated(path: str, names: Sequence[str]) -> None:
    """Raise SourceError where annotations lie among the images of a folder that has these files."""
    images = [name for name in names if name.lower().endswith(IMAGE_SUFFIXES)]
    stems = {_stem(name) for name in images}
    others = [name for name in names if not name.lower().endswith(IMAGE_SUFFIXES)] if images else []
    sure = [name for name in others if _is_sure(name, stems)]
    unsure = [name for name in others if name not in {*sure} and name.lower().endswith(_TEXT)]
    bases = re.compile(b"|".join(re.escape(name.rpartition("/")[2].encode()) for name in images[:MAX_LOOKS]))
    sure += [name for name in unsure[:MAX_LOOKS] if _speaks_of_objects(files.join(path, name), bases)]
    sure += unsure[MAX_LOOKS:]
    if sure:
        raise SourceError(
            f"expected a folder of images alone, got {len(sure):,} files of annotations among {len(images):,} "
            f"images, such as {sure[0]}: {path}; looked for {LOOKED_FOR}: {_advice(path, sure[0])}, or take the "
            "images without labels by --format folder"
        )


def _is_sure(name: str, image_stems: set[str]) -> bool:
    lower, stem = name.lower(), _stem(name)
    if lower.endswith(_TEXT):
        return stem in image_stems or bool(_NAME.match(stem))
    return lower.endswith(_SURE) or ".tfrecord-" in lower


def _speaks_of_objects(location: str, image_names: re.Pattern[bytes]) -> bool:
    """Return whether the beginning of a file names boxes or classes, or numbers beside images."""
    head = head_of(location)
    suffix = location.lower().rpartition(".")[2]
    if suffix in {"yaml", "yml"}:
        return bool(_YAML_KEY.search(head))
    first_line = head.partition(b"\n")[0]
    if suffix in {"csv", "tsv"} and not _A_NUMBER.search(first_line):  # the names of columns
        return bool(_COLUMN.search(first_line))
    if suffix not in {"csv", "tsv", "txt"} and _KEY.search(head):
        return True
    return bool(_ALL_NUMBERS.match(head) or (image_names.search(head) and _NUMBERS.search(head)))


def _advice(path: str, name: str) -> str:
    head = head_of(files.join(path, name))
    known = (advice for pattern, advice in _ADVICE if re.search(pattern, head))
    suffix = name.lower().rpartition(".")[2]
    return next(known, _ADVICE_OF_SUFFIX.get(suffix, "export them as COCO from their tool"))


def _stem(name: str) -> str:
    return name.rpartition("/")[2].rpartition(".")[0]
