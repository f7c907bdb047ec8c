"""Values of a COCO record in the forms that tools write them in.

In: a JSON value. Out: the whole number, box, polygon's or mask's box that it means, or None where it means none.
Whole numbers come as 7, 7.0 (pandas) or "7"; a box as four numbers, as text of them, or as an object with x, y,
width and height; a polygon as one or several lists of x and y in turn; a mask as COCO's lengths of runs.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping
from typing import Any

from pycocotools import mask

MIN_ID, MAX_ID = -(2**63), 2**63 - 1
"""The least and the largest id: what an int64 holds."""
MAX_SHOWN = 60
"""Characters of a value that a message shows."""
_BOX_FIELDS = (("x", "y", "width", "height"), ("x", "y", "w", "h"), ("left", "top", "width", "height"))
_MIN_POLYGON = 6
"""Numbers of a polygon with an area."""

Box = tuple[float, float, float, float]


def whole_number(value: object) -> int | None:
    """Return the id or size that a value means."""
    if is_id(value):
        return value  # type: ignore[return-value]
    number = _number(value)
    if number is None or number % 1 or isinstance(value, int):
        return None
    whole = int(value) if isinstance(value, str) and value.strip().lstrip("+-").isdecimal() else int(number)
    return whole if MIN_ID <= whole <= MAX_ID else None


def box_of(value: object) -> Box | None:
    """Return the left, top, width and height that a value means."""
    if isinstance(value, dict):
        value = next(
            ([value[name] for name in names] for names in _BOX_FIELDS if value.keys() >= {*names}), None
        )
    if not isinstance(value, list) or len(value) != 4:
        return None
    left, top, width, height = map(_number, value)
    if left is None or top is None or width is None or height is None:
        return None
    return left, top, width, height


def polygon_box(value: object) -> Box | None:
    """Return left, top, width and height around a polygon of one or several parts; none around a mask."""
    parts = value if isinstance(value, list) and value and isinstance(value[0], list) else [value]
    sides: list[float] = []
    for part in parts:
        numbers = [_number(side) for side in part] if isinstance(part, list) else []
        if len(numbers) < _MIN_POLYGON or len(numbers) % 2 or None in numbers:
            return None
        sides += [side for side in numbers if side is not None]
    left, top = min(sides[::2]), min(sides[1::2])
    return left, top, max(sides[::2]) - left, max(sides[1::2]) - top


def mask_box(value: Mapping[str, Any], size: tuple[int, int] | None) -> Box | None:
    """Return left, top, width and height around a mask, all 0 where it is empty; none where it is no mask.

    `size` is the height and width of its image. Counts of runs come as numbers or as COCO's compressed text.
    """
    counts, mask_size = value.get("counts"), value.get("size")
    if not (isinstance(mask_size, list) and len(mask_size) == 2 and all(map(is_id, mask_size))):
        return None
    height, width = mask_size
    if size is not None and (height, width) != size:
        return None
    if isinstance(counts, list):
        if not all(is_id(count) and count >= 0 for count in counts) or sum(counts) != height * width:
            return None
        runs = mask.frPyObjects(value, height, width)
    elif isinstance(counts, str) and counts.isascii():
        runs = {"size": mask_size, "counts": counts.encode()}
    else:
        return None
    left, top, box_width, box_height = map(float, mask.toBbox(runs))
    if left + box_width > width or top + box_height > height:
        return None
    return left, top, box_width, box_height


def is_finite(value: object) -> bool:
    """Return whether this is a number that a float64 can hold."""
    return isinstance(value, int | float) and abs(value) <= sys.float_info.max


def is_id(value: object) -> bool:
    """Return whether this is a whole number that an int64 can hold."""
    return isinstance(value, int) and MIN_ID <= value <= MAX_ID


def shown(fields: Mapping[str, Any], field: str) -> str:
    """Return a field and its value as a message shows them."""
    if field not in fields:
        return f"no {field}"
    text = json.dumps(fields[field], ensure_ascii=False)
    return f"{field} = {text if len(text) <= MAX_SHOWN else text[:MAX_SHOWN] + '…'}"


def _number(value: object) -> float | None:
    try:
        number = float(value) if isinstance(value, str) else value
    except ValueError:
        return None
    return number if is_finite(number) else None  # type: ignore[return-value]
