"""The annotations of a COCO file: from JSON records to columns whose ids are rows of images and classes.

In: the records of the list `annotations`, in file order; then the ids of images and categories. Out:
`AnnotationColumns`, then `Annotations`. What is wrong is counted and named in `problems`:

    malformed annotation              no image_id, category_id, or bbox of four finite numbers: dropped
    annotation twice                  equal in every field that is read: the first is kept
    unknown category / unknown image  the annotation is dropped
    id of several annotations         all are kept, as nothing needs these ids: a remark
    no bbox                           that of its polygon or mask is taken: a remark
    no bbox and an empty mask         dropped

Numbers may be text, see `storage.readers.coco_values`. Segmentations beside a bbox and whatever else a record holds
are passed over.

Shapes: E annotations that are not malformed.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import chain
from operator import attrgetter
from typing import Annotated, Any

import msgspec
import numpy as np
import numpy.typing as npt

from storage import boxes
from storage.errors import SourceError
from storage.problems import Problems
from storage.readers.clean_annotations import Annotations
from storage.readers.coco_document import plain_record
from storage.readers.coco_values import (
    MAX_ID,
    MIN_ID,
    box_of,
    is_finite,
    is_id,
    mask_box,
    polygon_box,
    shown,
    whole_number,
)

_BLOCK = 256
"""Records that are decoded before their values move into the columns: these fit the processor's cache."""
_Id = Annotated[int, msgspec.Meta(ge=MIN_ID, le=MAX_ID)]
MIN_CORNERS = 10
"""Boxes that leave their image from which on a set may be told to be given by corners."""
SizeOf = Callable[[int | None], tuple[int, int] | None]
"""The height and width of an image by its id; None for one that is not there."""
_SCALARS = ("id", "image_id", "category_id", "area", "iscrowd", "difficult")


class _Record(msgspec.Struct, gc=False):
    """An annotation in the usual form."""

    id: _Id
    image_id: _Id
    category_id: _Id
    bbox: tuple[float, float, float, float]
    area: float = math.nan
    iscrowd: bool | float = False
    difficult: bool | float = False


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class AnnotationColumns:
    """E annotations as the file has them."""

    ids_E: npt.NDArray[np.int64]
    image_ids_E: npt.NDArray[np.int64]
    category_ids_E: npt.NDArray[np.int64]
    xywh_E4: npt.NDArray[np.float64]
    areas_E: npt.NDArray[np.float64]
    """NaN where there is none above 0."""
    crowd_E: npt.NDArray[np.bool_]
    difficult_E: npt.NDArray[np.bool_]
    """As `mixpl split` writes Pascal VOC's; COCO itself has no such field."""
    names: dict[int, str] = field(default_factory=dict)
    """What the file has in place of an integer id, by the id that stands for it here."""

    def name(self, row: int) -> str:
        """Name an annotation so that a person finds it in the file."""
        identity = int(self.ids_E[row])
        return f"annotation {self.names.get(identity, identity)}"

    def resolve(
        self, image_ids: npt.NDArray[np.int64], category_ids: npt.NDArray[np.int64], problems: Problems
    ) -> Annotations:
        """Return the annotations of known images and categories, the first of equal ones."""
        images_E, categories_E = (
            _rows_of(self.image_ids_E, image_ids),
            _rows_of(self.category_ids_E, category_ids),
        )
        first_E = ~self._doubles(problems)
        for kind, wrong_E, describe in (
            ("annotation twice (first kept)", ~first_E, self.name),
            ("unknown image (dropped)", first_E & (images_E < 0), self._with_image),
            (
                "unknown category (dropped)",
                first_E & (images_E >= 0) & (categories_E < 0),
                self._with_category,
            ),
        ):
            problems.add_rows(kind, np.flatnonzero(wrong_E), describe)
        rows_A = np.flatnonzero(first_E & (images_E >= 0) & (categories_E >= 0))
        return Annotations(
            images_A=images_E[rows_A],
            categories_A=categories_E[rows_A].astype(np.int32),
            boxes_A4=np.asarray(boxes.xywh_to_xyxy(self.xywh_E4[rows_A]), np.float64),
            areas_A=self.areas_E[rows_A],
            scores_A=np.ones(len(rows_A), np.float32),
            crowd_A=self.crowd_E[rows_A],
            difficult_A=self.difficult_E[rows_A] if self.difficult_E.any() else None,
            describe=lambda row: self._with_box(rows_A[row]),
        )

    def _doubles(self, problems: Problems) -> npt.NDArray[np.bool_]:
        """Return which annotations equal an earlier one in every field. Ids alone may repeat: files get merged."""
        double_E = np.zeros(len(self.ids_E), bool)
        sorted_ids = np.sort(self.ids_E)
        repeated_ids = sorted_ids[1:][sorted_ids[1:] == sorted_ids[:-1]]
        if not len(repeated_ids):
            return double_E
        rows = np.flatnonzero(np.isin(self.ids_E, repeated_ids))
        columns = (self.ids_E, self.image_ids_E, self.category_ids_E, *self.xywh_E4.T, self.areas_E)
        fields = [column[rows].copy().view(np.int64) for column in columns]
        _, first = np.unique(np.column_stack([*fields, self.crowd_E[rows]]), axis=0, return_index=True)
        double_E[np.delete(rows, first)] = True
        kept = np.sort(rows[first])
        _, first_of_id = np.unique(self.ids_E[kept], return_index=True)
        problems.remark_rows(
            "id of several annotations (all kept)", np.delete(kept, first_of_id), self._with_box
        )
        return double_E

    def _with_image(self, row: int) -> str:
        return f"{self.name(row)}: image {self.image_ids_E[row]}"

    def _with_category(self, row: int) -> str:
        return f"{self.name(row)}: category {self.category_ids_E[row]}"

    def _with_box(self, row: int) -> str:
        return f"{self.name(row)}: bbox {self.xywh_E4[row].tolist()}"


def read_annotations(
    records: Sequence[msgspec.Raw], path: str, problems: Problems, size_of: SizeOf
) -> AnnotationColumns:
    """Return the columns of the annotations. Raises SourceError on a record that is no Unicode text."""
    size, end, names = len(records), 0, dict[int, str]()
    ids, image_ids, category_ids = (np.empty(size, np.int64) for _ in range(3))
    xywh, areas, crowd, difficult = (
        np.empty((size, 4)),
        np.empty(size),
        np.empty(size, bool),
        np.empty(size, bool),
    )
    for block in _blocks(records, path, problems, names, size_of):
        start, end = end, end + len(block)
        for name, column in zip(
            _SCALARS, (ids, image_ids, category_ids, areas, crowd, difficult), strict=True
        ):
            column[start:end] = np.fromiter(map(attrgetter(name), block), column.dtype, len(block))
        sides = chain.from_iterable(map(attrgetter("bbox"), block))
        xywh[start:end] = np.fromiter(sides, np.float64, 4 * len(block)).reshape(-1, 4)
    areas[~(areas > 0)] = np.nan
    return AnnotationColumns(
        ids_E=ids[:end],
        image_ids_E=image_ids[:end],
        category_ids_E=category_ids[:end],
        xywh_E4=xywh[:end],
        areas_E=areas[:end],
        crowd_E=crowd[:end],
        difficult_E=difficult[:end],
        names=names,
    )


def refuse_corners(annotations: Annotations, sizes_B2: npt.NDArray[np.int32], path: str) -> None:
    """Raise SourceError where bbox seems to hold right and bottom: as width and height many leave their image."""
    heights_A, widths_A = sizes_B2[annotations.images_A].T
    x1_A, y1_A, x2_A, y2_A = annotations.boxes_A4.T
    leaves_A = (x2_A > widths_A + 1) | (y2_A > heights_A + 1)
    num_leaving = int(np.count_nonzero(leaves_A))
    if num_leaving < max(MIN_CORNERS, 0.2 * len(leaves_A)):
        return
    right_A, bottom_A = x2_A - x1_A, y2_A - y1_A
    fits_A = (right_A > x1_A) & (right_A <= widths_A + 1) & (bottom_A > y1_A) & (bottom_A <= heights_A + 1)
    if np.count_nonzero(fits_A) >= 0.9 * len(fits_A):
        raise SourceError(
            f"expected bbox as left, top, width and height, got boxes that look like left, top, right and bottom: "
            f"{num_leaving:,} of {len(leaves_A):,} leave their image otherwise, such as "
            f"{annotations.describe(int(np.argmax(leaves_A)))}: {path}; take left from right and top from bottom"
        )


def _blocks(
    records: Sequence[msgspec.Raw],
    path: str,
    problems: Problems,
    names: dict[int, str],
    size_of: SizeOf,
) -> Iterator[list[_Record]]:
    """Yield the annotations that are not malformed, in blocks; note the names of those without an integer id."""
    decode = msgspec.json.Decoder(_Record).decode
    for start in range(0, len(records), _BLOCK):
        block = []
        for number, record in enumerate(records[start : start + _BLOCK], start):
            try:
                block.append(decode(record))
            except msgspec.DecodeError:
                value = plain_record(record, path, f"annotations[{number}]")
                fields = value if isinstance(value, dict) else {}
                block += _unusual(fields, number, problems, names, size_of)
        yield block


def _unusual(
    fields: dict[str, Any], number: int, problems: Problems, names: dict[int, str], size_of: SizeOf
) -> list[_Record]:
    """Return an annotation in another form than the usual one; none, and a problem, where it is malformed."""
    identity: Any = fields.get("id")
    area: Any = fields.get("area")
    name = f"[{number}]" if identity is None else str(identity)
    image_id, category_id = (whole_number(fields.get(field)) for field in ("image_id", "category_id"))
    box = box_of(fields.get("bbox"))
    if box is None and not fields.get("bbox"):
        outline: Any = fields.get("segmentation")
        is_mask = isinstance(outline, dict)
        box = mask_box(outline, size_of(image_id)) if is_mask else polygon_box(outline)
        if is_mask and box is not None and not all(box[2:]):
            problems.add("no bbox and an empty mask (dropped)", f"annotation {name}")
            return []
        if is_mask and box is None:
            problems.add(
                "no bbox and no mask of its image's size (dropped)",
                f"annotation {name}: {shown(fields, 'segmentation')}",
            )
            return []
        if box is not None:
            problems.remark(
                f"no bbox (that of its {'mask' if is_mask else 'polygon'} taken)", f"annotation {name}"
            )
    for field_, value in (("image_id", image_id), ("category_id", category_id), ("bbox", box)):
        if value is None:
            problems.add("malformed annotation (dropped)", f"annotation {name}: {shown(fields, field_)}")
            return []
    assert image_id is not None and category_id is not None and box is not None  # noqa: PT018  # for mypy
    if not is_id(identity):
        identity = MIN_ID + number  # no file numbers its annotations from there
        names[identity] = name
    return [
        _Record(
            id=identity,
            image_id=image_id,
            category_id=category_id,
            bbox=box,
            area=area if is_finite(area) else math.nan,
            iscrowd=bool(fields.get("iscrowd")),
            difficult=bool(fields.get("difficult")),
        )
    ]


def _rows_of(ids: npt.NDArray[np.int64], known_ids: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
    """Return where each id stands among the known ones, -1 where it does not."""
    if not len(known_ids):
        return np.full(len(ids), -1)
    order = np.argsort(known_ids)
    positions = np.minimum(np.searchsorted(known_ids, ids, sorter=order), len(known_ids) - 1)
    rows = order[positions]
    return np.where(known_ids[rows] == ids, rows, -1)
