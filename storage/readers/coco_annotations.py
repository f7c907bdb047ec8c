"""The annotations of a COCO file: from pieces of JSON to columns whose ids are rows of images and classes.

In: the pieces of the array `annotations`, in file order; then the ids of images and categories. Out:
`Annotations`. What is wrong is counted and named in `problems`:

    malformed annotation              no image_id, category_id, or bbox of four finite numbers: dropped
    duplicate annotation id           the first annotation is kept
    unknown category / unknown image  the annotation is dropped
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from storage import boxes
from storage.problems import Problems
from storage.readers.clean_annotations import Annotations
from storage.readers.coco_scan import Scanned, scan_annotations
from storage.readers.json_stream import Piece


class CocoAnnotations:
    """The annotations seen so far; ids are resolved at the end, as images may stand after them."""

    def __init__(self, problems: Problems) -> None:
        self._problems = problems
        self._columns: tuple[list[npt.NDArray[Any]], ...] = (
            [np.zeros(0, np.int64)], [np.zeros((0, 3), np.int64)], [np.zeros((0, 4))], [np.zeros(0)],
            [np.zeros(0, bool)],
        )  # fmt: skip
        self._names: dict[int, str] = {}
        self.num_annotations = 0
        """Annotations in the file, the malformed ones too."""

    def add(self, piece: Piece) -> None:
        """Take the annotations of a piece: the usual ones as scanned, the others as Python reads them."""
        scanned = scan_annotations(piece)
        self.num_annotations += len(scanned.usual_E)
        for index in np.flatnonzero(~scanned.usual_E):
            self._read(piece, int(index), scanned)
        kept = scanned.usual_E
        numbers_E = piece.first + np.arange(len(kept))
        columns = (numbers_E, scanned.integers_E3, scanned.xywh_E4, scanned.areas_E, scanned.crowd_E)
        for parts, column in zip(self._columns, columns, strict=True):
            parts.append(column if kept.all() else column[kept])

    def _read(self, piece: Piece, index: int, scanned: Scanned) -> None:
        """Fill in the columns of an unusual entry, or name it as malformed."""
        entry = piece.element(index)
        fields: dict[str, Any] = entry if isinstance(entry, dict) else {}
        number, identity = piece.first + index, fields.get("id")
        box, image_id, category_id = _box(fields), fields.get("image_id"), fields.get("category_id")
        name = f"[{number}]" if identity is None else str(identity)
        if box is None or not _is_id(image_id) or not _is_id(category_id):
            self._problems.add("malformed annotation (dropped)", f"annotation {name}")
            return
        if not _is_id(identity):
            self._names[number] = name
            identity = -1 - number
        scanned.integers_E3[index] = np.array([identity, image_id, category_id], np.int64)
        scanned.xywh_E4[index] = box
        scanned.areas_E[index] = _area(fields)
        scanned.crowd_E[index] = bool(fields.get("iscrowd", 0))
        scanned.usual_E[index] = True

    def resolve(self, image_ids: npt.NDArray[np.int64], category_ids: npt.NDArray[np.int64]) -> Annotations:
        """Return the annotations of known images and categories, the first of each id."""
        numbers, integers, xywh, areas, crowd = (_joined(parts) for parts in self._columns)
        images, categories = _rows_of(integers[:, 1], image_ids), _rows_of(integers[:, 2], category_ids)
        new = np.zeros(len(numbers), bool)
        new[np.unique(integers[:, 0], return_index=True)[1]] = True

        def name(row: int) -> str:
            return f"annotation {self._names.get(int(numbers[row]), integers[row, 0])}"

        twice, lost, foreign = ~new, new & (images < 0), new & (images >= 0) & (categories < 0)
        add = self._problems.add_rows
        add("duplicate annotation id (first kept)", np.flatnonzero(twice), name)
        add(
            "unknown image (dropped)",
            np.flatnonzero(lost),
            lambda row: f"{name(row)}: image {integers[row, 1]}",
        )
        add(
            "unknown category (dropped)",
            np.flatnonzero(foreign),
            lambda row: f"{name(row)}: category {integers[row, 2]}",
        )
        kept = np.flatnonzero(new & (images >= 0) & (categories >= 0))
        return Annotations(
            images_A=images[kept],
            categories_A=categories[kept].astype(np.int32),
            boxes_A4=np.asarray(boxes.xywh_to_xyxy(xywh[kept]), np.float64),
            areas_A=areas[kept],
            scores_A=np.ones(len(kept), np.float32),
            crowd_A=crowd[kept],
            describe=lambda row: f"{name(kept[row])}: bbox {xywh[kept[row]].tolist()}",
        )


def _joined(parts: list[npt.NDArray[Any]]) -> npt.NDArray[Any]:
    """Return all parts as one and forget them, so that no two columns are held twice at once."""
    whole = np.concatenate(parts)
    parts.clear()
    return whole


def _rows_of(ids: npt.NDArray[np.int64], known: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
    """Return where each id stands among the known ones, -1 where it does not."""
    if not len(known):
        return np.full(len(ids), -1)
    order = np.argsort(known)
    places = np.minimum(np.searchsorted(known, ids, sorter=order), len(known) - 1)
    rows = order[places]
    return np.where(known[rows] == ids, rows, -1)


def _box(entry: Mapping[str, Any]) -> list[float] | None:
    box = entry.get("bbox")
    if not isinstance(box, list) or len(box) != 4:
        return None
    return box if all(isinstance(side, int | float) and math.isfinite(side) for side in box) else None


def _is_id(value: object) -> bool:
    return isinstance(value, int) and abs(value) < 1 << 63


def _area(entry: Mapping[str, Any]) -> float:
    """Return the annotated area, or NaN where there is none to trust."""
    area = entry.get("area")
    return float(area) if isinstance(area, int | float) and math.isfinite(area) and area > 0 else math.nan
