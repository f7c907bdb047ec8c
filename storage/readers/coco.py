"""Reader of COCO and LVIS annotation files.

In: a COCO JSON file. Out: `ImageSet`: images in file order, classes by ascending category id, and where the file
holds annotations, the boxes of each image (xyxy, clipped to the image).

What is wrong in single entries is repaired or dropped, counted and named in `problems`, beside what
`storage.readers.coco_annotations` and `storage.readers.clean_annotations` decide:

    image record twice                the first is kept
    image id of several files         all are left out: whose the annotations are nobody knows
    file named twice                  both records are kept, each with its own boxes
    unknown category of an image      dropped from `neg_category_ids`, `not_exhaustive_category_ids`

Crowd regions (`iscrowd`) are kept apart. LVIS is COCO with other image names (`coco_url`) and with the federated
fields `neg_category_ids` and `not_exhaustive_category_ids`: they tell what is in an image, so they are part of
the truth, not of the image. What is wrong in the file as a whole is a SourceError.
"""

from __future__ import annotations

from array import array
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import cached_property
from typing import Any, TypedDict

import msgspec
import numpy as np

from storage.errors import SourceError
from storage.problems import Problems
from storage.readers.clean_annotations import truth_of
from storage.readers.coco_annotations import AnnotationColumns, read_annotations, refuse_corners
from storage.readers.coco_categories import class_notes, read_categories, without_group
from storage.readers.coco_document import CocoMembers, names_unreadable, plain_record, read_members
from storage.readers.coco_values import MAX_ID, MIN_ID, whole_number
from storage.readers.image_set import ImageSet
from storage.truth import Federated

IMAGE_FIELDS: dict[str, type[Any]] = {"id": int, "file_name": str, "width": int, "height": int}
"""What every image record must have; the rest is optional."""
BOUNDS = {"id": (MIN_ID, MAX_ID), "width": (1, 2**31 - 1), "height": (1, 2**31 - 1)}
"""The least and the largest number in a field: what the image table holds."""
ABSENT_FIELD, NOT_EXHAUSTIVE_FIELD = "neg_category_ids", "not_exhaustive_category_ids"


@names_unreadable
def read_coco(path: str) -> ImageSet:
    """Read a COCO or LVIS annotation file. Raises SourceError where the file as a whole cannot be used."""
    problems = Problems()
    members, sha256 = read_members(path)
    suspects: set[int] = set()
    images = _Images(unique_images(_image_records(members.images, path), path, problems, suspects))
    images.without(suspects, path)
    images.note_files_named_twice(problems)
    members.images.clear()  # nobody reads them again; the annotations are about to need the memory
    columns = _annotation_columns(members, path, problems, images)
    categories = without_group(
        members.categories, columns.category_ids_E if columns is not None else None, problems
    )
    category_ids, classes = read_categories(categories, path)
    split, notes = _split_note(members.info), class_notes(categories, category_ids)
    num_annotations = len(members.annotations or ())
    del members  # and with it the bytes of the file, before the boxes are checked
    sizes_B2 = np.array(images.sizes, np.int32).reshape(-1, 2)
    truth = None
    if columns is not None:
        annotations = columns.resolve(
            np.array(images.ids, np.int64), np.array(category_ids, np.int64), problems
        )
        del columns
        refuse_corners(annotations, sizes_B2, path)
        truth = truth_of(annotations, sizes_B2, problems, federated=images.federated(category_ids, problems))
    return ImageSet(
        path=path,
        sha256=sha256,
        classes=classes,
        category_ids=category_ids,
        image_ids=tuple(images.ids),
        file_names=tuple(images.file_names),
        sizes=sizes_B2,
        truth=truth,
        split=split,
        problems=problems,
        num_annotations=num_annotations,
        notes=notes,
    )


def unique_images(
    records: Iterable[Any], path: str, problems: Problems, suspects: set[int]
) -> Iterator[dict[str, Any]]:
    """Yield the image records in file order, the first of each id; put ids of several files into `suspects`.

    Raises SourceError on a malformed record.
    """
    file_names: dict[int, str] = {}
    for index, record in enumerate(records):
        fields: dict[str, Any] = record if isinstance(record, dict) else {}
        if "file_name" not in fields and isinstance(fields.get("coco_url"), str):
            fields["file_name"] = "/".join(fields["coco_url"].split("/")[-2:])
        for name in BOUNDS:
            number = whole_number(fields.get(name))
            if number is not None:
                fields[name] = number
        wrong = _wrong_field(fields)
        if wrong is not None:
            expected = ", ".join(f"{name}: {kind.__name__}" for name, kind in IMAGE_FIELDS.items())
            raise SourceError(
                f"expected the fields {expected} in every image, sizes from 1 on, got {wrong} = "
                f"{fields.get(wrong)!r}: {path}, images[{index}]; correct the annotation file"
            )
        image_id, file_name = fields["id"], fields["file_name"]
        if file_names.get(image_id) == file_name:
            problems.add("image record twice (first kept)", f"{image_id} is {file_name}")
        elif image_id in file_names:
            both = f"{file_names[image_id]} and {file_name}"
            problems.add("image id of several files (all left out)", f"{image_id} is {both}")
            suspects.add(image_id)
        else:
            file_names[image_id] = file_name
            yield fields


def _wrong_field(fields: Mapping[str, Any]) -> str | None:
    """Return the first field of an image record that is not of its type or not within its bounds."""
    for name, kind in IMAGE_FIELDS.items():
        value: Any = fields.get(name)
        if isinstance(value, bool) or not isinstance(value, kind):  # to Python, true is an int
            return name
        if name in BOUNDS and not BOUNDS[name][0] <= value <= BOUNDS[name][1]:
            return name
    return None


class _ImageRecord(TypedDict, total=False):
    """What is read of an image record, whatever stands there."""

    id: Any
    file_name: Any
    coco_url: Any
    width: Any
    height: Any
    neg_category_ids: Any
    not_exhaustive_category_ids: Any


def _image_records(records: Sequence[msgspec.Raw], path: str) -> Iterator[Any]:
    decode = msgspec.json.Decoder(_ImageRecord).decode
    for index, record in enumerate(records):
        try:
            yield decode(record)
        except msgspec.DecodeError:
            yield plain_record(record, path, f"images[{index}]")


def _annotation_columns(
    members: CocoMembers, path: str, problems: Problems, images: _Images
) -> AnnotationColumns | None:
    """Return the annotations, or None where the file has no list of them."""
    if isinstance(members.annotations, msgspec.UnsetType):
        return None
    if members.annotations and not members.categories:
        raise SourceError(
            f"expected the categories of {len(members.annotations):,} annotations, got none: {path}; "
            "add the list 'categories'"
        )
    return read_annotations(members.annotations, path, problems, images.size_of)


class _Images:
    """What is kept of the image records."""

    def __init__(self, records: Iterable[Mapping[str, Any]]) -> None:
        self.ids: list[int] = []
        self.file_names: list[str] = []
        self.sizes = array("i")
        """Height and width of each image in turn; a list of pairs would be ten times as large."""
        self._federated: dict[str, dict[int, list[Any]]] = {ABSENT_FIELD: {}, NOT_EXHAUSTIVE_FIELD: {}}
        for record in records:
            for name, lists in self._federated.items():
                if isinstance(record.get(name), list):
                    lists[len(self.ids)] = record[name]
            self.ids.append(record["id"])
            self.file_names.append(record["file_name"])
            self.sizes.extend((record["height"], record["width"]))

    def size_of(self, image_id: int | None) -> tuple[int, int] | None:
        """Return the height and width of an image; None where there is none of this id."""
        row = self._rows.get(image_id)
        return None if row is None else (self.sizes[2 * row], self.sizes[2 * row + 1])

    @cached_property
    def _rows(self) -> dict[int | None, int]:
        """Rows by id, made where a mask asks for one."""
        return {image_id: row for row, image_id in enumerate(self.ids)}

    def without(self, suspects: set[int], path: str) -> None:
        """Forget the images of these ids. Raises SourceError where none is left."""
        if not suspects:
            return
        rows = [row for row, image_id in enumerate(self.ids) if image_id not in suspects]
        if not rows:
            raise SourceError(
                f"expected an id of its own for every image, got the same for several files, such as "
                f"{min(suspects)}: {path}; number the images anew, each annotation's image_id with them"
            )
        new_rows = {row: new for new, row in enumerate(rows)}
        for lists in self._federated.values():
            kept = {new_rows[row]: value for row, value in lists.items() if row in new_rows}
            lists.clear()
            lists.update(kept)
        self.ids, self.file_names = [self.ids[row] for row in rows], [self.file_names[row] for row in rows]
        self.sizes = array("i", (side for row in rows for side in self.sizes[2 * row : 2 * row + 2]))

    def note_files_named_twice(self, problems: Problems) -> None:
        """Count the files that several images name: each has its own boxes, and lacks those of the other."""
        if len({*self.file_names}) == len(self.file_names):
            return
        ids: dict[str, list[int]] = {}
        for image_id, file_name in zip(self.ids, self.file_names, strict=True):
            ids.setdefault(file_name, []).append(image_id)
        for file_name, several in ids.items():
            if len(several) > 1:
                named = " and ".join(map(str, several[:3]))
                problems.add(
                    "file named twice (each image keeps its own boxes)", f"{file_name} (ids {named})"
                )

    def federated(self, category_ids: Sequence[int], problems: Problems) -> Federated | None:
        """Return the federated fields as class indices, or None where no image has one."""
        if not any(self._federated.values()):
            return None
        rows = {category_id: row for row, category_id in enumerate(category_ids)}
        absent, not_exhaustive = (
            tuple(self._indices(name, image, rows, problems) for image in range(len(self.ids)))
            for name in self._federated
        )
        return Federated(absent=absent, not_exhaustive=not_exhaustive)

    def _indices(self, name: str, image: int, rows: Mapping[int, int], problems: Problems) -> tuple[int, ...]:
        category_ids = self._federated[name].get(image, [])
        for category_id in category_ids:
            if category_id not in rows:
                problems.add(
                    f"unknown category in {name} (dropped)",
                    f"image {self.ids[image]}: category {category_id}",
                )
        return tuple(sorted({rows[category_id] for category_id in category_ids if category_id in rows}))


def _split_note(info: object) -> dict[str, Any] | None:
    """Return what `mixpl split` wrote into the file's info, or None."""
    note = info.get("split") if isinstance(info, dict) else None
    return note if isinstance(note, dict) else None
