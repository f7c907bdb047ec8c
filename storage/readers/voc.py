"""Reader of Pascal VOC folders.

In: a VOC folder (`Annotations/`, `ImageSets/Main/`, `JPEGImages/`), a folder of several (`VOCdevkit/VOC2007`,
`VOC2012`), or a folder of annotation files without lists, as labelImg, Label Studio and Roboflow leave it. Out:
`ImageSet`, file names relative to the folder of the images. `voc_set` says which images are read, `voc_corners` how
their corners count. The image id is the digits of VOC's own id (`2008_000002` is 2008000002), or a number from 1
where those are not unique. The classes are those of a list of classes that has all that occur, else VOC's twenty
where no other occurs, else those that occur, by name. `difficult` objects are kept apart, or as any other where the
caller says so.

What is wrong in single entries is counted and named in `problems`, beside what `voc_set` and
`storage.readers.clean_annotations` decide:

    malformed object                  no name, or a bndbox without four finite numbers: dropped
    no bndbox                         the box around its polygon or robndbox is taken: a remark
    image listed twice                the first is kept
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from storage.errors import SourceError
from storage.image_check import Frame
from storage.problems import Problems
from storage.readers.clean_annotations import Annotations, truth_of
from storage.readers.image_set import ImageSet
from storage.readers.text import read_lines
from storage.readers.voc_annotation import LABEL_STUDIO, VocObject
from storage.readers.voc_corners import Corners, WrittenBoxes, edges_of
from storage.readers.voc_set import Unannotated, VocRecord, VocSet, read_set

VOC_CLASSES = (
    "aeroplane", "bicycle", "bird", "boat", "bottle", "bus", "car", "cat", "chair", "cow", "diningtable", "dog",
    "horse", "motorbike", "person", "pottedplant", "sheep", "sofa", "train", "tvmonitor",
)  # fmt: skip
"""The classes of Pascal VOC, in its order."""
MAX_DIGITS = 19
"""An id of fewer digits fits an int64."""


@dataclass(frozen=True, kw_only=True, slots=True)
class VocOptions:
    """What a Pascal VOC folder itself does not say."""

    keep_difficult: bool = False
    """Take difficult objects as any other."""
    corners: Corners = "auto"
    """How corners count."""
    unannotated: Unannotated = "left-out"
    """What an image without an annotation file is, where others have one."""


USUAL_OPTIONS = VocOptions()


def read_voc(
    path: str,
    *,
    subset: str | None = None,
    images: str | None = None,
    options: VocOptions = USUAL_OPTIONS,
    frame: Frame = "upright",
) -> ImageSet:
    """Read the images of one subset; their file names are relative to `images`, or to `path` where that is None.

    `frame` is what the boxes are of. Raises SourceError when the folder is none of VOC, or has no such subset.
    """
    read = read_set(path, subset=subset, images=images, unannotated=options.unannotated, frame=frame)
    if not read.records:
        raise SourceError(
            f"expected images in the subset {read.subset}, got none: {path}; choose another --subset"
        )
    class_names = _classes_of(read)
    sizes_B2 = np.array([record.size for record in read.records], np.int32).reshape(-1, 2)
    is_labeled = any(record.annotation for record in read.records)
    annotations, corners = _annotations(read.records, class_names, sizes_B2, options, read.problems)
    return ImageSet(
        path=path,
        sha256=read.digest.hexdigest(),
        classes=class_names,
        category_ids=tuple(range(1, len(class_names) + 1)),
        image_ids=_image_ids([record.name for record in read.records]),
        file_names=tuple(record.file_name for record in read.records),
        sizes=sizes_B2,
        truth=truth_of(annotations, sizes_B2, read.problems) if is_labeled else None,
        split=None,
        problems=read.problems,
        num_annotations=sum(record.annotation.num_objects for record in read.records if record.annotation),
        notes=_notes(read, options, corners),
    )


def _notes(read: VocSet, options: VocOptions, corners: Corners) -> dict[str, object]:
    """Return what is kept with the data set; of a set with lists only what is not VOC's own way."""
    notes: dict[str, object] = {"format": "voc"}
    if read.subset is not None:
        notes["subset"] = read.subset
    if options.keep_difficult:
        notes["difficult"] = "kept"
    if not read.has_lists or options.corners != "auto":
        notes["corners"] = corners
    if read.other_subsets:
        notes["other_subsets"] = ", ".join(read.other_subsets)
    if read.num_taken_as_empty:
        notes["images_without_annotation_file"] = (
            f"{read.num_taken_as_empty} (taken as images without objects)"
        )
    return notes


def _classes_of(read: VocSet) -> tuple[str, ...]:
    for location in read.class_files:
        classes = _class_list(location)
        lacking = read.class_names - {*classes}
        if not lacking:
            return classes
        named = ", ".join(sorted(lacking)[:5])
        read.problems.remark(
            "list of classes without some that occur (not used)", f"{location} lacks {named}"
        )
    return VOC_CLASSES if read.class_names <= {*VOC_CLASSES} else tuple(sorted(read.class_names))


def _class_list(location: str) -> tuple[str, ...]:
    """Return the names of a list of classes; behind a colon CVAT's has colours, and its background is no class."""
    names = [line.strip() for line in read_lines(location) if line.strip() and not line.startswith("#")]
    if location.endswith("labelmap.txt"):
        names = [name.rsplit(":", 3)[0] for name in names]
        names = [name for name in names if name != "background"]
    return tuple(dict.fromkeys(names))


def _image_ids(names: Sequence[str]) -> tuple[int, ...]:
    digits = [name.replace("_", "") for name in names]
    if len({int(text) for text in digits if text.isdecimal() and len(text) < MAX_DIGITS}) == len(names):
        return tuple(map(int, digits))
    return tuple(range(1, len(names) + 1))


def _annotations(
    records: Sequence[VocRecord],
    classes: Sequence[str],
    sizes_B2: npt.NDArray[np.int32],
    options: VocOptions,
    problems: Problems,
) -> tuple[Annotations, Corners]:
    """Return the objects of all images, and how their corners count."""
    index = {name: row for row, name in enumerate(classes)}
    rows: list[tuple[int, VocObject]] = []
    for row, record in enumerate(records):
        for reason in record.annotation.malformed if record.annotation else ():
            problems.add("malformed object (dropped)", f"{record.file_name}: {reason}")
        for object_ in record.annotation.objects if record.annotation else ():
            if object_.outline != "bndbox":
                place = f"{record.file_name}: {object_.name} with a {object_.outline}"
                problems.remark("no bndbox (the box around its outline taken)", place)
            rows.append((row, object_))

    def describe(row: int) -> str:
        image, object_ = rows[row]
        return f"{records[image].file_name}: {object_.name} {[*object_.box]}"

    images_A = np.array([row for row, _ in rows], np.int64)
    boxes = WrittenBoxes(
        corners_A4=np.array([object_.box for _, object_ in rows], np.float64).reshape(-1, 4),
        sizes_A2=sizes_B2[images_A],
        is_bndbox_A=np.array([object_.outline == "bndbox" for _, object_ in rows], bool),
        has_score_A=np.array([object_.has_score for _, object_ in rows], bool),
        is_from_zero_A=np.array([_is_of_label_studio(records[row]) for row, _ in rows], bool),
        describe=describe,
    )
    edges_A4, corners = edges_of(boxes, options.corners, problems)
    is_apart = [object_.difficult and not options.keep_difficult for _, object_ in rows]
    return (
        Annotations(
            images_A=images_A,
            categories_A=np.array([index[object_.name] for _, object_ in rows], np.int32),
            boxes_A4=edges_A4,
            areas_A=np.full(len(rows), np.nan),
            scores_A=np.array([object_.score for _, object_ in rows], np.float32),
            crowd_A=np.zeros(len(rows), bool),
            difficult_A=np.array(is_apart, bool),
            describe=describe,
        ),
        corners,
    )


def _is_of_label_studio(record: VocRecord) -> bool:
    return record.annotation is not None and record.annotation.tool == LABEL_STUDIO
