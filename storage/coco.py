"""Reader of COCO annotation files.

In: a COCO JSON file. Out: `ImageSet`: images in file order, classes by ascending category id, and where the
file holds annotations, the boxes of each image (xyxy, clipped to the image).

What is wrong in single entries is repaired or dropped, counted and named in `problems`:

    duplicate image id                the first record is kept
    duplicate annotation id           the first annotation is kept
    unknown category / unknown image  the annotation is dropped
    malformed annotation              no image_id, category_id, or bbox of four finite numbers: dropped
    zero-area box                     dropped
    box partly outside its image      clipped; counted when more than one pixel is cut off
    box wholly outside its image      dropped

Crowd regions (`iscrowd`) are kept apart. What is wrong in the file as a whole is a ValueError.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from storage import boxes, files
from storage.image_set import ImageSet, Truth
from storage.labels import Labels
from storage.problems import Problems

IMAGE_FIELDS = (("id", int), ("file_name", str), ("width", int), ("height", int))
"""What every image record must have; the rest is optional."""

BOUNDS = {"id": (-(2**63), 2**63 - 1), "width": (1, 2**31 - 1), "height": (1, 2**31 - 1)}
"""The least and the largest number in a field: what the image table holds."""

CUT_OFF_TOLERANCE = 1.0
"""Pixels: annotation tools round, so less than this over the edge is clipped without a word."""


def read_document(path: str) -> tuple[dict[str, Any], str]:
    """Return a COCO file as a plain value, and the sha256 of its bytes. Raises ValueError when it is none."""
    try:
        data = files.read_bytes(path)
    except (FileNotFoundError, IsADirectoryError) as error:
        raise ValueError(f"expected a COCO annotation file, got {error}; check the path") from None
    try:
        document = json.loads(data)
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise ValueError(f"expected COCO JSON, got {error}: {path}; is the file complete?") from None
    has_images = isinstance(document, dict) and isinstance(document.get("images"), list)
    if not has_images:
        raise ValueError(
            f"expected a JSON object with a list 'images', got {_shape(document)}: {path}; "
            "give a COCO detection file"
        )
    return document, hashlib.sha256(data).hexdigest()


def read_coco(path: str) -> ImageSet:
    """Read a COCO annotation file. Raises ValueError where the file as a whole cannot be used."""
    document, sha256 = read_document(path)
    problems = Problems()
    category_ids, classes = _categories(document, path)
    images = unique_images(document, path, problems)
    sizes_B2 = np.array([[image["height"], image["width"]] for image in images], np.int32).reshape(-1, 2)
    annotations = document.get("annotations")
    usable = annotations is None or isinstance(annotations, list)
    if not usable:
        raise ValueError(f"expected a list 'annotations', got {_shape(annotations)}: {path}")
    if annotations and not classes:
        raise ValueError(
            f"expected the categories of {len(annotations):,} annotations, got none: {path}; "
            "add the list 'categories'"
        )
    image_ids = tuple(int(image["id"]) for image in images)
    truth = None
    if annotations is not None:
        truth = _truth(_rows(annotations, image_ids, category_ids, problems), sizes_B2, problems)
    return ImageSet(
        path=path,
        sha256=sha256,
        classes=classes,
        category_ids=category_ids,
        image_ids=image_ids,
        file_names=tuple(image["file_name"] for image in images),
        sizes=sizes_B2,
        truth=truth,
        split=split_note(document),
        problems=problems,
    )


def unique_images(document: Mapping[str, Any], path: str, problems: Problems) -> list[dict[str, Any]]:
    """Return the image records in file order, the first of each id. Raises ValueError on a malformed one."""
    seen: dict[int, dict[str, Any]] = {}
    for index, image in enumerate(document["images"]):
        fields: dict[str, Any] = image if isinstance(image, dict) else {}
        wrong = [name for name, kind in IMAGE_FIELDS if not _is_field(name, kind, fields.get(name))]
        if wrong:
            raise ValueError(
                f"expected the fields {', '.join(f'{name}: {kind.__name__}' for name, kind in IMAGE_FIELDS)} "
                f"in every image, sizes from 1 on, got {wrong[0]} = {fields.get(wrong[0])!r}: {path}, "
                f"images[{index}]; correct the annotation file"
            )
        if image["id"] in seen:
            first = seen[image["id"]]["file_name"]
            problems.add(
                "duplicate image id (first kept)", f"{image['id']} is {first} and {image['file_name']}"
            )
        else:
            seen[image["id"]] = image
    return list(seen.values())


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


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class _Rows:
    """A annotations as columns, sorted by image."""

    ids: list[str]
    images: npt.NDArray[np.int64]
    categories: npt.NDArray[np.int32]
    xywh: npt.NDArray[np.float64]
    areas: npt.NDArray[np.float64]
    crowd: npt.NDArray[np.bool_]


def _categories(document: Mapping[str, Any], path: str) -> tuple[tuple[int, ...], tuple[str, ...]]:
    entries = document.get("categories", [])
    try:
        pairs = sorted((int(entry["id"]), str(entry["name"])) for entry in entries)
    except (KeyError, TypeError, ValueError) as error:
        raise ValueError(f"expected categories with 'id' and 'name', got {error!r}: {path}") from None
    ids, names = tuple(pair[0] for pair in pairs), tuple(pair[1] for pair in pairs)
    for kind, values in (("id", ids), ("name", names)):
        twice = [value for value, count in Counter[int | str](values).items() if count > 1]
        if twice:
            raise ValueError(
                f"expected each category {kind} once, got {twice[0]!r} twice: {path}; rename or merge them"
            )
    return ids, names


def _rows(
    annotations: Iterable[Any], image_ids: tuple[int, ...], category_ids: tuple[int, ...], problems: Problems
) -> _Rows:
    image_rows = {image_id: row for row, image_id in enumerate(image_ids)}
    category_rows = {category_id: row for row, category_id in enumerate(category_ids)}
    seen: set[str] = set()
    kept: list[tuple[int, int, list[float], float, bool, str]] = []
    for index, entry in enumerate(annotations):
        fields: dict[str, Any] = entry if isinstance(entry, dict) else {}
        box, image_id, category_id = _box(fields), fields.get("image_id"), fields.get("category_id")
        identity = str(fields.get("id", f"[{index}]"))
        if box is None or not isinstance(image_id, int) or not isinstance(category_id, int):
            problems.add("malformed annotation (dropped)", f"annotation {identity}")
        elif identity in seen:
            problems.add("duplicate annotation id (first kept)", f"annotation {identity}")
        elif image_id not in image_rows:
            problems.add("unknown image (dropped)", f"annotation {identity}: image {image_id}")
        elif category_id not in category_rows:
            problems.add("unknown category (dropped)", f"annotation {identity}: category {category_id}")
        else:
            row = image_rows[image_id], category_rows[category_id]
            kept.append((*row, box, _area(fields), bool(fields.get("iscrowd", 0)), identity))
        seen.add(identity)
    kept.sort(key=lambda row: row[0])
    return _Rows(
        ids=[row[5] for row in kept],
        images=np.array([row[0] for row in kept], np.int64),
        categories=np.array([row[1] for row in kept], np.int32),
        xywh=np.array([row[2] for row in kept], np.float64).reshape(-1, 4),
        areas=np.array([row[3] for row in kept], np.float64),
        crowd=np.array([row[4] for row in kept], np.bool_),
    )


def _box(entry: Mapping[str, Any]) -> list[float] | None:
    box = entry.get("bbox")
    if not isinstance(box, list) or len(box) != 4:
        return None
    return box if all(isinstance(side, int | float) and math.isfinite(side) for side in box) else None


def _area(entry: Mapping[str, Any]) -> float:
    """Return the annotated area, or NaN where there is none to trust."""
    area = entry.get("area")
    return float(area) if isinstance(area, int | float) and math.isfinite(area) and area > 0 else math.nan


def _truth(rows: _Rows, sizes_B2: npt.NDArray[np.int32], problems: Problems) -> Truth:
    whole_N4 = boxes.xywh_to_xyxy(rows.xywh)
    heights_N, widths_N = sizes_B2[rows.images].T
    clipped_N4 = boxes.clip(whole_N4, width=widths_N, height=heights_N).astype(np.float32)
    has_area_N = boxes.valid(whole_N4)
    kept_N = boxes.valid(clipped_N4)
    cut_N = np.any(np.abs(whole_N4 - clipped_N4) > CUT_OFF_TOLERANCE, axis=1)
    for index in np.flatnonzero(np.logical_not(kept_N) | cut_N):
        kind = (
            "zero-area box (dropped)" if not has_area_N[index]
            else "box wholly outside its image (dropped)" if not kept_N[index]
            else "box partly outside its image (clipped)"
        )  # fmt: skip
        problems.add(kind, f"annotation {rows.ids[index]}: bbox {rows.xywh[index].tolist()}")
    areas_N = np.where(np.isnan(rows.areas), boxes.area(clipped_N4.astype(np.float64)), rows.areas)
    truth_N, crowd_N = kept_N & ~rows.crowd, kept_N & rows.crowd
    return Truth(
        labels=_pick(rows, clipped_N4, truth_N, len(sizes_B2)),
        areas=areas_N[truth_N],
        crowds=_pick(rows, clipped_N4, crowd_N, len(sizes_B2)),
    )


def _pick(
    rows: _Rows, boxes_N4: npt.NDArray[np.float32], mask_N: npt.NDArray[np.bool_], num_images: int
) -> Labels:
    counts_B = np.bincount(rows.images[mask_N], minlength=num_images)
    return Labels(
        boxes_N4=boxes_N4[mask_N],
        categories_N=rows.categories[mask_N],
        scores_N=np.ones(int(mask_N.sum()), np.float32),
        offsets_B1=np.concatenate([[0], np.cumsum(counts_B)]).astype(np.int64),
    )


def _shape(value: object) -> str:
    if isinstance(value, dict):
        return f"an object with {', '.join(sorted(map(str, value))) or 'no keys'}"
    return type(value).__name__
