"""Reader of COCO and LVIS annotation files.

In: a COCO JSON file, read once, piece by piece: memory is that of the boxes, not of the text. Out: `ImageSet`:
images in file order, classes by ascending category id, and where the file holds annotations, the boxes of each
image (xyxy, clipped to the image).

What is wrong in single entries is repaired or dropped, counted and named in `problems`, beside what
`storage.readers.coco_annotations` and `storage.readers.clean_annotations` decide:

    duplicate image id                the first record is kept
    unknown category of an image      dropped from `neg_category_ids`, `not_exhaustive_category_ids`

Crowd regions (`iscrowd`) are kept apart. LVIS is COCO with other image names (`coco_url`) and with the federated
fields `neg_category_ids` and `not_exhaustive_category_ids`: they tell what is in an image, so they are part of
the truth, not of the image. What is wrong in the file as a whole is a ValueError.
"""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from storage import files
from storage.errors import SourceError
from storage.problems import Problems
from storage.readers.clean_annotations import truth_of
from storage.readers.coco_annotations import CocoAnnotations
from storage.readers.image_set import ImageSet
from storage.readers.json_stream import JsonStream, Piece
from storage.truth import Federated

IMAGE_FIELDS = (("id", int), ("file_name", str), ("width", int), ("height", int))
"""What every image record must have; the rest is optional."""
ABSENT_FIELD, NOT_EXHAUSTIVE_FIELD = "neg_category_ids", "not_exhaustive_category_ids"

BOUNDS = {"id": (-(2**63), 2**63 - 1), "width": (1, 2**31 - 1), "height": (1, 2**31 - 1)}
"""The least and the largest number in a field: what the image table holds."""


def read_document(path: str) -> tuple[dict[str, Any], str]:
    """Return a whole COCO file as a plain value and the sha256 of its bytes; SourceError when it is none."""
    try:
        data = files.read_bytes(path)
    except (FileNotFoundError, IsADirectoryError) as error:
        raise SourceError(f"expected a COCO annotation file, got {error}; check the path") from None
    try:
        document = json.loads(data)
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise SourceError(f"expected COCO JSON, got {error}: {path}; is the file complete?") from None
    has_images = isinstance(document, dict) and isinstance(document.get("images"), list)
    if not has_images:
        raise SourceError(
            f"expected a JSON object with a list 'images', got {_shape(document)}: {path}; "
            "give a COCO detection file"
        )
    return document, hashlib.sha256(data).hexdigest()


def read_coco(path: str) -> ImageSet:
    """Read a COCO or LVIS annotation file. Raises SourceError where the file as a whole cannot be used."""
    problems = Problems()
    images, parts = _Images(path, problems), CocoAnnotations(problems)
    stream = _open(path)
    for piece in stream.pieces():
        if piece.member == "images":
            images.add(piece)
        else:
            parts.add(piece)
    for name in ("images", "annotations"):
        if name in stream.values or (name == "images" and name not in stream.names):
            got = _shape(stream.values[name]) if name in stream.values else _with_keys(stream.names)
            raise SourceError(
                f"expected a JSON object with a list {name!r}, got {got}: {path}; give a COCO detection file"
            )
    category_ids, classes = _categories(stream.values, path)
    sizes_B2 = np.array(images.sizes, np.int32).reshape(-1, 2)
    truth = None
    if "annotations" in stream.names:
        if parts.num_annotations and not classes:
            raise SourceError(
                f"expected the categories of {parts.num_annotations:,} annotations, got none: {path}; "
                "add the list 'categories'"
            )
        rows = parts.resolve(np.array(images.ids, np.int64), np.array(category_ids, np.int64))
        truth = truth_of(rows, sizes_B2, problems, federated=images.federated(category_ids))
    return ImageSet(
        path=path,
        sha256=stream.sha256,
        classes=classes,
        category_ids=category_ids,
        image_ids=tuple(images.ids),
        file_names=tuple(images.file_names),
        sizes=sizes_B2,
        truth=truth,
        split=split_note(stream.values),
        problems=problems,
        notes=_notes(stream.values, category_ids),
    )


def unique_images(document: Mapping[str, Any], path: str, problems: Problems) -> list[dict[str, Any]]:
    """Return the image records in file order, the first of each id. Raises SourceError on a malformed one."""
    seen: dict[int, str] = {}
    return list(_unique(document["images"], 0, path, problems, seen))


def _is_field(name: str, kind: type, value: object) -> bool:
    """Return whether an image record's value is of its kind, and a number within its bounds."""
    if not isinstance(value, int):
        return isinstance(value, kind)
    least, most = BOUNDS.get(name, (1, 0))
    return not isinstance(value, bool) and least <= value <= most


def split_note(document: Mapping[str, Any]) -> dict[str, Any] | None:
    """Return what `mixpl split` wrote into the file's info, or None."""
    info = document.get("info")
    note = info.get("split") if isinstance(info, dict) else None
    return note if isinstance(note, dict) else None


def _open(path: str) -> JsonStream:
    try:
        stream = JsonStream(path, arrays=("images", "annotations"), values=("categories", "info"))
    except (FileNotFoundError, IsADirectoryError) as error:
        raise SourceError(f"expected a COCO annotation file, got {error}; check the path") from None
    if not stream.is_object():
        read_document(path)  # says what it is instead
    return stream


def _unique(
    records: Iterable[Any], first: int, path: str, problems: Problems, seen: dict[int, str]
) -> Iterable[dict[str, Any]]:
    """Yield the sound image records that are new; `seen` holds the file names by id."""
    for index, image in enumerate(records, first):
        fields: dict[str, Any] = image if isinstance(image, dict) else {}
        if "file_name" not in fields and isinstance(fields.get("coco_url"), str):
            fields["file_name"] = "/".join(fields["coco_url"].split("/")[-2:])
        wrong = [name for name, kind in IMAGE_FIELDS if not _is_field(name, kind, fields.get(name))]
        if wrong:
            raise SourceError(
                f"expected the fields {', '.join(f'{name}: {kind.__name__}' for name, kind in IMAGE_FIELDS)} "
                f"in every image, sizes from 1 on, got {wrong[0]} = {fields.get(wrong[0])!r}: {path}, "
                f"images[{index}]; correct the annotation file"
            )
        if fields["id"] in seen:
            twice = f"{fields['id']} is {seen[fields['id']]} and {fields['file_name']}"
            problems.add("duplicate image id (first kept)", twice)
        else:
            seen[fields["id"]] = fields["file_name"]
            yield fields


class _Images:
    """What is kept of the image records."""

    def __init__(self, path: str, problems: Problems) -> None:
        self.ids: list[int] = []
        self.file_names: list[str] = []
        self.sizes: list[tuple[int, int]] = []
        self._path, self._problems = path, problems
        self._seen: dict[int, str] = {}
        self._federated: dict[str, dict[int, list[Any]]] = {ABSENT_FIELD: {}, NOT_EXHAUSTIVE_FIELD: {}}

    def add(self, piece: Piece) -> None:
        """Take the records of a piece."""
        records = piece.elements()
        for image in _unique(records, piece.first, self._path, self._problems, self._seen):
            for name, known in self._federated.items():
                if isinstance(image.get(name), list):
                    known[len(self.ids)] = image[name]
            self.ids.append(image["id"])
            self.file_names.append(image["file_name"])
            self.sizes.append((image["height"], image["width"]))

    def federated(self, category_ids: Sequence[int]) -> Federated | None:
        """Return the federated fields as class indices, or None where no image has one."""
        if not any(self._federated.values()):
            return None
        rows = {category_id: row for row, category_id in enumerate(category_ids)}
        lists = [
            tuple(self._indices(name, image, rows) for image in range(len(self.ids)))
            for name in self._federated
        ]
        return Federated(absent=lists[0], not_exhaustive=lists[1])

    def _indices(self, name: str, image: int, rows: Mapping[int, int]) -> tuple[int, ...]:
        listed = self._federated[name].get(image, [])
        for category_id in listed:
            if category_id not in rows:
                self._problems.add(
                    f"unknown category in {name} (dropped)",
                    f"image {self.ids[image]}: category {category_id}",
                )
        return tuple(sorted({rows[category_id] for category_id in listed if category_id in rows}))


def _categories(document: Mapping[str, Any], path: str) -> tuple[tuple[int, ...], tuple[str, ...]]:
    entries = document.get("categories", [])
    try:
        pairs = sorted((int(entry["id"]), str(entry["name"])) for entry in entries)
    except (KeyError, TypeError, ValueError) as error:
        raise SourceError(f"expected categories with 'id' and 'name', got {error!r}: {path}") from None
    ids, names = tuple(pair[0] for pair in pairs), tuple(pair[1] for pair in pairs)
    for kind, values in (("id", ids), ("name", names)):
        twice = [value for value, count in Counter[int | str](values).items() if count > 1]
        if twice:
            raise SourceError(
                f"expected each category {kind} once, got {twice[0]!r} twice: {path}; rename or merge them"
            )
    return ids, names


def _notes(document: Mapping[str, Any], category_ids: Sequence[int]) -> dict[str, Any]:
    """Return LVIS's groups of rare, common and frequent classes, in the order of the classes."""
    entries = {entry["id"]: entry.get("frequency") for entry in document.get("categories", [])}
    if not any(isinstance(group, str) for group in entries.values()):
        return {}
    return {"class_frequency": [entries[category_id] for category_id in category_ids]}


def _shape(value: object) -> str:
    return _with_keys(list(value)) if isinstance(value, dict) else type(value).__name__


def _with_keys(names: Sequence[str]) -> str:
    return f"an object with {', '.join(sorted(names)) or 'no keys'}"
